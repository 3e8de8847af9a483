"""The enumeration of the orders has teeth: it finds each broken rule of the core."""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("greenlet", reason="the scheduler's threads are greenlets")

from tests.races import core, pools, scenarios, serving, stopping
from tests.races.explorer import BadOrder
from tests.races.world import World, orders
from wsgi_async.core.base.checks import inherited_error, running_loop
from wsgi_async.core.base.deadlines import Deadline
from wsgi_async.core.messages.errors import Closing
from wsgi_async.core.results import sync_future
from wsgi_async.core.runners import resident
from wsgi_async.core.runners.crew import Work

pytestmark = [pytest.mark.timeout(300)]

Scenario = Callable[[World], None]
Broken = Callable[[pytest.MonkeyPatch], None]


# -- the live loop -----------------------------------------------------------------------------


def wakes_before_it_is_done(patch: pytest.MonkeyPatch) -> None:
    def finish(self: Any, job: Any, result: Any = None, **outcome: Any) -> None:
        if job.wakeup is not None:
            job.wakeup.set()
        with self.mutex:
            if job.done:
                return
            job.result, job.exception = result, outcome.get("exception")
            job.cancelled = outcome.get("cancelled", False)
            self.jobs.discard(job)
            job.done = True

    patch.setattr(core.SharedLive, "finish", finish)


def finishes_without_a_look(patch: pytest.MonkeyPatch) -> None:
    def finish(self: Any, job: Any, result: Any = None, **outcome: Any) -> None:
        with self.mutex:
            job.result, job.exception = result, outcome.get("exception")
            job.cancelled = outcome.get("cancelled", False)
            self.jobs.discard(job)
            job.done = True
        if job.wakeup is not None:
            job.wakeup.set()
        if job.future is not None:
            job.future.settle(job)

    patch.setattr(core.SharedLive, "finish", finish)


def is_due_until_it_has_looked(patch: pytest.MonkeyPatch) -> None:
    def start_queued(self: Any) -> None:
        with self.mutex:
            jobs, self.queue = self.queue, deque()
            self.jobs.update(jobs)
        with self.mutex:
            self._due = False
        for job in jobs:
            self.begin(job)

    patch.setattr(core.SharedLive, "start_queued", start_queued)


def takes_no_mutex_to_begin(patch: pytest.MonkeyPatch) -> None:
    def start_queued(self: Any) -> None:
        self._due = False
        jobs, self.queue = self.queue, deque()
        for job in jobs:
            self.begin(job)

    patch.setattr(core.SharedLive, "start_queued", start_queued)


def looks_for_a_stop_before_the_mutex(patch: pytest.MonkeyPatch) -> None:
    def submit(self: Any, job: Any) -> None:
        if self.closing:
            raise Closing
        with self.mutex:
            self.queue.append(job)
            due, self._due = self._due, True
        if not due:
            self.post(self._start_queued)

    patch.setattr(core.SharedLive, "submit", submit)


def looks_whether_it_is_due_before_the_mutex(patch: pytest.MonkeyPatch) -> None:
    def submit(self: Any, job: Any) -> None:
        due = self._due
        with self.mutex:
            if self.closing:
                raise Closing
            self.queue.append(job)
            self._due = True
        if not due:
            self.post(self._start_queued)

    patch.setattr(core.SharedLive, "submit", submit)


def cancels_what_may_have_begun(patch: pytest.MonkeyPatch) -> None:
    def request_cancel(self: Any, job: Any) -> None:
        with self.mutex:
            queued = job in self.queue
        if queued:
            with self.mutex:
                if job in self.queue:
                    self.queue.remove(job)
            self.cancel_unstarted(job)
        else:
            self.post(self.cancel, job)

    patch.setattr(core.SharedLive, "request_cancel", request_cancel)


def asks_who_has_gone(patch: pytest.MonkeyPatch) -> None:
    def ask(self: Any, loop: Any, call: Any) -> bool:
        with self.home.mutex:
            if self.inbox is None:
                self.inbox = core.SharedInbox(self.wakeup.nudge)
        taken: bool = self.inbox.put(call)
        return taken

    patch.setattr(core.SharedJob, "ask", ask)


def expires_twice(patch: pytest.MonkeyPatch) -> None:
    def expire(self: Any, home: Any) -> None:
        if not self.done:
            home.cancel(self)

    patch.setattr(core.SharedJob, "_expire", expire)


def stops_before_it_says_so(patch: pytest.MonkeyPatch) -> None:
    def request_stop(self: Any, timeout: float = 10.0) -> Any:
        runner = self.runner
        if runner is not None:
            runner.leave()
            self._refuse_work(runner, timeout)
        return runner

    patch.setattr(core.SharedLifecycle, "request_stop", request_stop)


def claims_a_start_without_the_lock(patch: pytest.MonkeyPatch) -> None:
    def claim(self: Any, before: list[str]) -> None:
        state: str = self.state
        if state not in ("new", "stopped"):
            raise self.refusal()
        with self._lock:
            self._state = "starting"
        self._started.clear()
        before.append(state)

    patch.setattr(core.SharedLifecycle, "_claim", claim)


# -- futures, groups, inboxes ------------------------------------------------------------------


def looks_before_it_can_be_woken(patch: pytest.MonkeyPatch) -> None:
    def wait(self: Any, timeout: float | None) -> bool:
        runner = self._runner
        wakeup = core.present.world.primitives.wakeup() if runner is None else runner.wakeup()
        if self.done():
            return True
        self._condition.wakeups.append(wakeup)
        while not wakeup.wait(timeout):
            pass
        return True

    patch.setattr(core.SharedFuture, "_wait", wait)


def forgets_its_job_too_early(patch: pytest.MonkeyPatch) -> None:
    original = sync_future.SyncFuture.settle

    def settle(self: Any, job: Any) -> None:
        self._runner = self._job = None
        original(self, job)

    patch.setattr(core.SharedFuture, "settle", settle)


def reads_its_runner_twice(patch: pytest.MonkeyPatch) -> None:
    def refuse(self: Any) -> None:
        if self._runner is not None and self._runner.live.inherited:
            raise inherited_error(self._runner.live.label)

    patch.setattr(core.SharedFuture, "_refuse_in_child", refuse)


def looks_at_its_state_in_a_child(patch: pytest.MonkeyPatch) -> None:
    original = core.SharedFuture._refuse_in_child

    def refuse(self: Any) -> None:
        if not self.done():
            original(self)

    patch.setattr(core.SharedFuture, "_refuse_in_child", refuse)


def ends_what_is_on_its_way_in(patch: pytest.MonkeyPatch) -> None:
    def end(self: Any) -> None:
        with self._live.mutex:
            self._ended = True
            jobs = [job for job in self._jobs if job not in self._entering]
        for job in jobs:
            self._live.request_cancel(job)
        if running_loop() is None and jobs:
            self._wait()

    def submit(self: Any, runner: Any, job: Any, future: Any) -> None:
        with self._live.mutex:
            self._jobs[job] = future
        job.future = self
        self._live.submit(job)

    patch.setattr(core.SharedGroup, "end", end)
    patch.setattr(core.SharedGroup, "submit", submit)


def looks_at_the_group_before_it_can_be_woken(patch: pytest.MonkeyPatch) -> None:
    def wait(self: Any) -> None:
        wakeup = self._runner.wakeup()
        done = self.done
        with self._live.mutex:
            self._wakeup = wakeup
        if not done:
            wakeup.wait(Deadline(self._live.grace).left())

    patch.setattr(core.SharedGroup, "_wait", wait)


def waits_for_the_mutex_in_a_child(patch: pytest.MonkeyPatch) -> None:
    def end(self: Any) -> None:
        with self._live.mutex:
            if self._live.inherited:
                return

    patch.setattr(core.SharedGroup, "end", end)


def wakes_before_it_is_in_the_inbox(patch: pytest.MonkeyPatch) -> None:
    def put(self: Any, call: Any) -> bool:
        if self._wake is not None:
            self._wake()
        with self._mutex:
            if self._closed:
                return False
            self._calls.append(call)
        return True

    patch.setattr(core.SharedInbox, "put", put)


# -- residents and pools -----------------------------------------------------------------------


def stops_the_loop_before_the_flag(patch: pytest.MonkeyPatch) -> None:
    def set_(self: Any) -> None:
        if self.runner.is_owner:
            self._live.loop.stop()
        else:
            self._live.post(self._live.loop.stop)
        self._set = True

    def wait(self: Any, timeout: float | None = None) -> bool:
        while not self._set:
            self.runner.enter()
        self._set = False
        return True

    patch.setattr(core.SharedLoopWakeup, "set", set_)
    patch.setattr(core.SharedLoopWakeup, "wait", wait)
    patch.setattr(core.SharedLoopWakeup, "rest", wait)


def unsets_the_flag_before_it_waits(patch: pytest.MonkeyPatch) -> None:
    def wait(self: Any, timeout: float | None = None) -> bool:
        self._set = False
        while not self._set:
            self.runner.enter()
        return True

    patch.setattr(core.SharedLoopWakeup, "wait", wait)
    patch.setattr(core.SharedLoopWakeup, "rest", wait)


def does_not_wind_up_what_is_queued(patch: pytest.MonkeyPatch) -> None:
    def wind_up(self: Any) -> None:
        for job in self.in_flight():
            self.cancel(job)

    patch.setattr(core.SharedLive, "wind_up", wind_up)


def cancels_again_what_is_wound_up(patch: pytest.MonkeyPatch) -> None:
    original = core.SharedLive.wind_up

    def wind_up(self: Any) -> None:
        original(self)
        self.leaving.clear()

    patch.setattr(core.SharedLive, "wind_up", wind_up)


def looks_for_a_stop_before_the_turn(patch: pytest.MonkeyPatch) -> None:
    def do_next(self: Any) -> bool:
        found = self._crew.next_work(self)
        if found is None:
            return False
        if isinstance(found, Work):
            found.run()
        else:
            found.wait()
        self._close_if_stopped()
        self._give_loop_a_turn()
        return True

    patch.setattr(core.SharedWorker, "_do_next", do_next)
    patch.setattr(core.SharedLoopWakeup, "end", lambda self: None)
    # The turn uses up the wake-up of the stop where it looks at the descriptors.
    patch.setattr(resident, "_BLIND_TURNS", 0)


def goes_on_the_idle_list_after_the_look(patch: pytest.MonkeyPatch) -> None:
    original = core.SharedCrew.next_work

    def next_work(self: Any, worker: Any) -> Any:
        with self._lock:
            idle = not (self._queue or self._shut_down)
        if not idle:
            return original(self, worker)
        with self._lock:
            wakeup = self._idle[worker] = self._primitives.wakeup()
        return wakeup

    patch.setattr(core.SharedCrew, "next_work", next_work)


def leaves_who_is_woken_on_the_idle_list(patch: pytest.MonkeyPatch) -> None:
    def submit(self: Any, work: Any) -> None:
        with self._lock:
            self._queue.append(work)
            if self._idle:
                next(reversed(self._idle.values())).set()
            elif len(self._workers) < self._size:
                self._add_worker(work)

    patch.setattr(core.SharedCrew, "submit", submit)


def lets_those_sleep_who_stand_by(patch: pytest.MonkeyPatch) -> None:
    def stand_by(self: Any, wakeup: Any) -> bool:
        with self._lock:
            work = bool(self._queue or self._shut_down)
        if work:
            return False
        with self._lock:
            self._standing_by[wakeup] = wakeup
        return True

    patch.setattr(core.SharedCrew, "stand_by", stand_by)


def joins_before_it_refuses(patch: pytest.MonkeyPatch) -> None:
    original = core.SharedCrew.close

    def close(self: Any, *, cancel_futures: bool = False) -> Any:
        with self._lock:
            workers = [*self._workers, *self._leaving]
        original(self, cancel_futures=cancel_futures)
        return workers

    patch.setattr(core.SharedCrew, "close", close)


def wakes_nobody_at_its_end(patch: pytest.MonkeyPatch) -> None:
    def close(self: Any, *, cancel_futures: bool = False) -> Any:
        with self._lock:
            self._shut_down = True
            return [*self._workers, *self._leaving]

    patch.setattr(core.SharedCrew, "close", close)


def starts_threads_without_the_lock(patch: pytest.MonkeyPatch) -> None:
    original = core.SharedCrew._add_worker

    def submit(self: Any, work: Any) -> None:
        with self._lock:
            self._queue.append(work)
            missing = not self._idle and len(self._workers) < self._size
        if missing:
            original(self, work)

    patch.setattr(core.SharedCrew, "submit", submit)


def lets_queued_work_lie_when_the_last_thread_fails(patch: pytest.MonkeyPatch) -> None:
    def leave(self: Any, worker: Any, *, failed: bool) -> None:
        with self._lock:
            self._workers.discard(worker)
            self._leaving.add(worker)

    patch.setattr(core.SharedCrew, "leave", leave)


def keeps_its_seat_in_a_child(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(resident, "forget_seat", lambda: None)


@pytest.mark.parametrize(
    ("broken", "scenario", "preemptions", "timeouts"),
    [
        (wakes_before_it_is_done, scenarios.run_twice, 1, 0),
        (finishes_without_a_look, stopping.stop_in_vain, 1, 0),
        (is_due_until_it_has_looked, scenarios.run_beside_submitter, 1, 0),
        (takes_no_mutex_to_begin, scenarios.run_twice, 1, 0),
        (looks_for_a_stop_before_the_mutex, stopping.stop_beside_work, 1, 0),
        (looks_whether_it_is_due_before_the_mutex, scenarios.run_beside_submitter, 1, 0),
        (cancels_what_may_have_begun, scenarios.cancel_beside_waiter, 2, 0),
        (asks_who_has_gone, serving.serve_who_is_released, 0, 2),
        (expires_twice, serving.serve_with_timeout, 1, 1),
        (stops_before_it_says_so, stopping.owner_ends_beside_work, 1, 0),
        (claims_a_start_without_the_lock, stopping.start_twice, 1, 0),
        (looks_before_it_can_be_woken, scenarios.fill_by_hand, 1, 0),
        (forgets_its_job_too_early, scenarios.cancel_beside_waiter, 1, 0),
        (reads_its_runner_twice, scenarios.result_beside_outsider, 1, 0),
        (looks_at_its_state_in_a_child, stopping.fork_beside_work, 1, 0),
        (ends_what_is_on_its_way_in, scenarios.end_group, 1, 0),
        (looks_at_the_group_before_it_can_be_woken, scenarios.end_group, 1, 0),
        (waits_for_the_mutex_in_a_child, stopping.fork_beside_work, 1, 0),
        (wakes_before_it_is_in_the_inbox, serving.serve, 1, 0),
        (stops_the_loop_before_the_flag, pools.wait_for_stranger, 1, 0),
        (unsets_the_flag_before_it_waits, pools.submit_twice, 1, 0),
        (does_not_wind_up_what_is_queued, pools.stop_beside_submitter, 2, 0),
        (cancels_again_what_is_wound_up, pools.stop_idle_beside_background, 1, 0),
        (looks_for_a_stop_before_the_turn, pools.stop_idle, 1, 0),
        (goes_on_the_idle_list_after_the_look, pools.submit_twice_without_loops, 1, 0),
        (leaves_who_is_woken_on_the_idle_list, pools.meet_after_idleness, 1, 0),
        (lets_those_sleep_who_stand_by, pools.work_beside_a_wait, 2, 0),
        (joins_before_it_refuses, pools.shut_down, 1, 0),
        (wakes_nobody_at_its_end, pools.shut_down, 1, 0),
        (starts_threads_without_the_lock, pools.submit_three_to_two, 1, 0),
        (lets_queued_work_lie_when_the_last_thread_fails, pools.fail_to_initialize, 1, 0),
        (keeps_its_seat_in_a_child, pools.fork_from_pool, 1, 0),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
# A broken world leaves coroutines behind.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
def test_a_broken_rule_is_found(
    broken: Broken, scenario: Scenario, preemptions: int, timeouts: int
) -> None:
    """A core with one rule broken fails in some order."""
    with pytest.raises(BadOrder) as found:
        orders(scenario, preemptions=preemptions, timeouts=timeouts, mutate=broken)
    print(str(found.value).splitlines()[0])
    gc.collect()
