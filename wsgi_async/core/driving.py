"""What a caller does that has got the baton: run the loop for its job until that is done.

It also keeps the job's time, and comes out of the loop for the sync functions that the job's
coroutine wants to have run on the thread that waits for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .asgiref_locals import move_here
from .jobs import DROPPED

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from .driver import Driver
    from .jobs import Job
    from .sync_calls import SyncCalls

__all__ = ["Driving"]


class Driving:
    """Runs one loop for the threads that wait for a job. Lives as long as its driver.

    It has no state of its own; only for the thread that holds the baton.

    Args:
        driver: Whose loop it is.
        watch_pauses: Makes the timer look how long a thread stays outside for a sync function;
            takes no lock.
    """

    def __init__(self, driver: Driver, watch_pauses: Callable[[], None]) -> None:
        self._driver = driver
        self._baton = driver.baton
        self._selector = driver.selector
        self._watch_pauses = watch_pauses
        # Bound once: these are looked up in every call.
        self._visit = driver.visits.visit
        self._begin = driver.begin

    def drive(self, job: Job, timeout: float | None, *, owned: bool) -> None:  # noqa: C901 - each call pays for a second
        """Run the loop until the job is done, or its time is over.

        Args:
            job: What is waited for; it is started if nobody has done so.
            timeout: Seconds.
            owned: The job is the caller's alone. It is cancelled when its time is over or the
                caller is interrupted, and driven through its cleanup. Else it is just left.
        """
        driver = self._driver
        outer, driver.target = driver.target, job
        job.left = False
        calls = job.calls
        timer: asyncio.TimerHandle | None = None
        if self._selector is not None:
            self._selector.first_turn = True
        try:
            if job.task is None and not job.done and job.state is not DROPPED:
                self._begin(job)
            if timeout is not None:
                timer = self._limit(job, timeout, owned=owned)
            if self._baton.queue:
                driver.start_queued()
            # A stop that came late only cuts a visit short.
            while not (job.done or job.left):
                if calls is not None and calls.queue and self._serve(job, calls, timer):
                    break
                self._visit()
        except BaseException:
            # From a signal handler, or the loop is broken. Not from a tracked coroutine.
            if owned:
                self._drive_cleanup(job)
            raise
        finally:
            if timer is not None:
                self._lift(job, timer)
            if not job.lost:  # the target is another driver's by now
                driver.target = outer

    # -- the job's time --------------------------------------------------------------------------

    def limit(self, job: Job, seconds: float) -> None:
        """On the loop: count a job's time for a thread that waits for it without driving.

        Args:
            job: What is cancelled when its time is over.
            seconds: What is left of it.
        """
        if not job.done:
            job.timer = self._limit(job, seconds, owned=True)

    def _limit(self, job: Job, timeout: float, *, owned: bool) -> asyncio.TimerHandle:
        over = self._expire if owned else self._driver.turn_away
        return self._driver.loop.call_later(timeout, over, job)

    def _lift(self, job: Job, timer: asyncio.TimerHandle) -> None:
        if job.lost:
            self._driver.post(timer.cancel)  # the loop is another driver's by now
        else:
            timer.cancel()

    def _expire(self, job: Job) -> None:
        """On the loop: the timeout of a `run()` is over."""
        if not (job.done or job.expired) and job.task is not None:
            job.expired = True
            # The deadline is its caller's too, which may have cancelled it: again would interrupt
            # its cleanup.
            if not (job.calls_back and job.task.cancelling()):
                job.cut_off = True
                job.task.cancel()
            self._begin_grace(job)

    def _begin_grace(self, job: Job) -> asyncio.TimerHandle:
        driver = self._driver
        return driver.loop.call_later(driver.grace, self._grace_over, job)

    def _grace_over(self, job: Job) -> None:
        if not (job.done or job.left):
            self._driver.complain(job)
            self._driver.turn_away(job)

    def _drive_cleanup(self, job: Job) -> None:
        """Cancel the job and drive it to its end, as its caller was interrupted; bounded."""
        task = job.task
        if task is None or _is_over(job):
            return
        if job.lost:
            self._leave_cleanup(job)
            return
        task.cancel()
        timer = self._begin_grace(job)
        calls = job.calls
        try:
            while not (job.done or job.left):
                if calls is not None and calls.queue and self._serve(job, calls, timer):
                    break
                self._visit()
        finally:
            timer.cancel()

    def _leave_cleanup(self, job: Job) -> None:
        """Cancel a job that is on the keeper by now."""
        if job.waiter is None:
            self._driver.post(self._driver.cancel, job)
        else:
            self._driver.caller.give_up(job.waiter)

    # -- its sync functions ----------------------------------------------------------------------

    def _serve(self, job: Job, calls: SyncCalls, timer: asyncio.TimerHandle | None) -> bool:
        """Run a sync function for the job, outside of the loop; whether the job is over then.

        It is when the function has driven for a job of its own, or when the keeper has taken the
        loop over meanwhile, and this thread has waited for it.
        """
        if self._run_outside(job, calls):
            return _is_over(job)
        left = None if timer is None else timer.when() - self._driver.loop.raw.time()
        self._driver.caller.follow(job, left)
        return True

    def _run_outside(self, job: Job, calls: SyncCalls) -> bool:
        """Run a sync function; False if the loop was taken over meanwhile."""
        driver, baton = self._driver, self._baton
        driver.target = None  # whoever takes over has none
        if baton.pause(job):
            self._watch_pauses()
        try:
            deliver = calls.serve_one()
        finally:
            held = baton.resume(driver.seam.current(), job)
            if held:
                driver.target = job
            else:
                job.lost = True
        if not held:
            if job.host is not None:
                job.host.on_keeper = True  # its next job is not for us
            driver.post(_deliver, job, deliver)
            return False
        deliver()
        if calls.queue:
            driver.loop.stop()  # the next visit is one turn: what the others wait for goes on too
        if self._selector is not None:
            self._selector.first_turn = True
        return True


def _is_over(job: Job) -> bool:
    return job.done or job.left


def _deliver(job: Job, deliver: Callable[[], None]) -> None:
    """On the loop that was taken over: let the job go on, on another thread than before."""
    try:
        move_here(job.context if job.host is None else job.host.context)
    finally:
        deliver()
