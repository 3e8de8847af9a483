"""A manager's life: start, stop, and the errors for calls that come too early or too late."""

from __future__ import annotations

import asyncio
import logging
import threading
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from wsgi_async.core.base.checks import refuse_in_event_loop
from wsgi_async.core.base.deadlines import Deadline
from wsgi_async.core.base.forks import warn_of_silent_forks
from wsgi_async.core.base.log import report
from wsgi_async.core.base.primitives import Event, new_mutex
from wsgi_async.core.jobs import bridge, observers
from wsgi_async.core.loops.guard import BoundLoop
from wsgi_async.core.loops.live_loop import LiveLoop
from wsgi_async.core.loops.making import make_loop
from wsgi_async.core.messages.errors import ManagerStateError
from wsgi_async.core.runners.guest import Guest
from wsgi_async.core.runners.keeper import Keeper
from wsgi_async.core.runners.resident import Resident, current_seat

from . import words
from .departure import Departure
from .executor import LoopExecutor
from .hooks import call_hook, own_loop, run_on_start
from .shutdown import Shutdown
from .watching import watch

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from wsgi_async.core.base.settings import Settings
    from wsgi_async.core.base.threads import ThreadNode
    from wsgi_async.core.loops.selector import WatchedSelector
    from wsgi_async.core.runners.runner import Runner

__all__ = ["STOP_TIMEOUT", "Lifecycle"]

STOP_TIMEOUT = 10.0
"""Seconds for a stop without a timeout of its own: when the owner thread or the process ends."""


class Lifecycle:
    """Starts and stops one manager, again and again. Lives as long as the manager.

    Args:
        id: The manager's id.
        node: The manager's thread.
        settings: The manager's settings.
        on_stopped: Called in the loop's thread when the loop is closed.
    """

    def __init__(
        self,
        id: Hashable,
        node: ThreadNode,
        settings: Settings,
        on_stopped: Callable[[], None],
    ) -> None:
        # Never changes:
        self.id = id
        self._settings = settings
        self._on_stopped = on_stopped
        self._started = Event()  # set when a start() is over
        self._lock = new_mutex()
        # Guarded by `Lifecycle._lock`, and read without it: if a stop() overtakes a call, the live
        # loop refuses the call.
        self.runner: Runner | None = None  # None whenever the manager cannot be used
        self.task_type: Hashable = None
        self._state = "new"
        self._ended = Event()  # one for each start
        # No lock: written by start(), before there is a runner. Both belong to the loop made last.
        self._executor: LoopExecutor | None = None
        self._raw: asyncio.AbstractEventLoop | None = None  # None once it is closed
        # No lock: the deadline of the first stop. If two begin at once, either one counts.
        self._deadline: Deadline | None = None
        # No lock: only one thread writes each field, and other threads may see it late.
        self.node = node  # written by the thread that takes over a manager without a thread
        self.lasting = False  # it is meant to run until its thread ends
        self.of_pool = False  # a pool of ours has made it for one of its threads
        self.given_up = False  # a stop has reached its timeout in vain
        # Called by the owner thread when it ends, so it takes no lock. Returns whether the manager
        # continues without an owner. None means that it does not.
        self.outlive: Callable[[], bool] | None = None

    @property
    def state(self) -> str:
        """new, starting, running, stopping, stopped or inherited."""
        runner = self.runner
        if self._state == "running" and runner is not None and runner.live.closing:
            return "stopping"
        return self._state

    def is_loop(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether this is the manager's loop, also while the manager starts or stops."""
        return self._raw is loop

    def waits_for_this_code(self) -> bool:
        """Whether the current code is part of the manager's start, also sync code that it calls.

        It must not wait for the start to be over.
        """
        own = own_loop.get()
        loop = None if own is None else own()
        return loop is not None and self.is_loop(loop)

    @property
    def label(self) -> str:
        """The manager's name in messages."""
        return words.label(self.id, self.node)

    @property
    def work(self) -> str:
        """What runs the loop, and the work in flight there; a hint."""
        return words.work(self.runner)

    @property
    def status(self) -> str:
        """The manager's name in the log, with its work."""
        return f"{self.label} ({words.work_in_the_log(self.runner)})"

    @property
    def resident(self) -> bool:
        """Whether the loop lives on the thread that the manager belongs to."""
        runner = self.runner
        return runner is not None and runner.resident

    @property
    def usable_here(self) -> bool:
        """Whether the loop runs while the current thread waits for it.

        A loop that lives on another worker thread may not run, because that thread may be busy.
        """
        runner = self.runner
        if isinstance(runner, Guest):
            return runner.usable_here
        return not isinstance(runner, Resident) or runner.is_owner

    def refusal(self) -> ManagerStateError:
        """The error that says why the manager cannot be used now, and what to do."""
        return words.refusal(self.label, self.state)

    # -- start ---------------------------------------------------------------------------------

    def start(self, task_type: Hashable, *, resident: bool = False) -> None:
        """Make the loop and its runner. If this raises, neither is left.

        Args:
            task_type: The label of the tasks that it accepts.
            resident: The loop lives on the current thread, which enters it whenever it waits.
        """

        def build(made: list[Runner]) -> None:
            self._build(made, resident=resident)
            if self._settings.on_start is not None:
                run_on_start(made[0], self._settings.on_start)

        self._start(task_type, build)

    def start_as_guest(self, task_type: Hashable) -> None:
        """Use the current thread's running loop, which other code runs."""
        self._start(task_type, self._build_guest)

    async def call_on_start(self) -> None:
        """Call the user's hook on the loop that the manager is a guest on.

        If it raises, the manager is stopped afterwards, without its `on_stop`.
        """
        hook, runner = self._settings.on_start, self.runner
        if hook is None or not isinstance(runner, Guest):
            return
        try:
            await call_hook(hook)
        except BaseException as error:
            if self.runner is runner:  # else another thread has stopped it meanwhile
                self._refuse_work(runner, STOP_TIMEOUT)
            stop = runner.give_up()
            if stop is not None and not isinstance(error, GeneratorExit):
                await asyncio.wait([stop])
            raise

    def _start(self, task_type: Hashable, build: Callable[[list[Runner]], None]) -> None:
        if self._state == "inherited":
            raise self.refusal()  # before the lock: another thread may have held it at the fork
        # Filled by the calls below: what they returned would be lost if a signal handler raised.
        before: list[str] = []
        made: list[Runner] = []
        try:
            self._claim(before)
            self._deadline, self.given_up = None, False  # those of an earlier stop
            build(made)
            self._publish(made[0], task_type)
            warn_of_silent_forks(lambda: self.label)
        except BaseException:
            if before:  # else it is another thread's
                self._undo_start(before[0], made)
            raise

    def _publish(self, runner: Runner, task_type: Hashable) -> None:
        with self._lock:
            self.task_type = task_type
            self._ended = Event()
            self.runner = runner
            self._state = "running"
        self._started.set()

    def _undo_start(self, before: str, made: list[Runner]) -> None:
        self.runner = None
        for runner in made:
            self._end_runner(runner)
        with self._lock:
            self._state = before
        self._started.set()

    def _end_runner(self, runner: Runner) -> None:
        """End a runner whose start has failed. Its loop is closed."""
        self._refuse_work(runner, STOP_TIMEOUT)
        if isinstance(runner, Resident):
            runner.close()
            runner.forget()
            return
        runner.leave()
        # A guest's end needs this thread, which runs the loop.
        if isinstance(runner, Keeper):  # pragma: no branch - a guest only after an interruption
            runner.join(STOP_TIMEOUT)

    def _claim(self, before: list[str]) -> None:
        """Change the state to starting.

        Args:
            before: Gets the state before.
        """
        # Only the state changes under the lock: user code makes the loop.
        with self._lock:
            state = self.state
            if state in ("starting", "stopping"):
                raise self.refusal()
            if state == "running":
                raise ManagerStateError(
                    f"{self.label} is already started. Remove this start(), or call stop() first."
                )
            before.append(state)
            self._state = "starting"
            self._started.clear()

    def wait_started(self) -> bool:
        """Wait a limited time for another thread's `start()`. Return whether it is over."""
        return self._started.wait(STOP_TIMEOUT)

    def _build(self, made: list[Runner], *, resident: bool) -> None:
        with ExitStack() as undo:
            raw, selector = make_loop(self._settings.loop_factory)
            loop = BoundLoop(raw)
            # A runner that is made ends its loop itself.
            undo.callback(lambda: None if made else loop.give_back())
            if self._settings.debug is not None:
                raw.set_debug(self._settings.debug)
            executor = self._executor = LoopExecutor()
            raw.set_default_executor(executor)
            live = self._live(loop, selector)
            loop.guard(lambda: self.label)
            watch(live)
            self._run(made, live, partial(self._close, live, executor), resident=resident)
            undo.pop_all()

    def _build_guest(self, made: list[Runner]) -> None:
        self._executor = None  # the loop has its own
        live = self._live(BoundLoop(asyncio.get_running_loop()), None)
        departure = Departure(
            live,
            budget=self._time_to_stop,
            on_stop=self._settings.on_stop,
            ended=partial(self._close, live, None),
        )
        made.append(Guest(live, departure.begin, departure.give_up))

    def _live(self, loop: BoundLoop, selector: WatchedSelector | None) -> LiveLoop:
        self._raw = loop.raw
        return LiveLoop(
            loop,
            self._settings.primitives,
            grace=self._settings.grace,
            label=lambda: self.label,
            status=lambda: self.status,
            selector=selector,
        )

    def _run(
        self, made: list[Runner], live: LiveLoop, close: Callable[[], None], *, resident: bool
    ) -> None:
        seat = current_seat()
        if resident and seat is not None:
            made.append(Resident(live, seat, close))
            return
        keeper = Keeper(live)
        named = "" if self.id is None else f" {self.id!r}"
        try:
            keeper.start(close, f"wsgi_async keeper{named}")
            made.append(keeper)
        except BaseException:
            if keeper.owner and not live.closing:  # a signal handler raised after its start
                self._end_runner(keeper)  # pragma: no cover - rare, at random in its tests
            raise

    # -- stop ----------------------------------------------------------------------------------

    def owner_ended(self) -> None:
        """The owner thread is ending: have everything stopped, unless the manager outlives it.

        Takes no lock.
        """
        if self.outlive is None or not self.outlive():
            self.request_stop()

    def request_stop(self, timeout: float = STOP_TIMEOUT) -> Runner | None:
        """Have the loop's thread stop everything. Returns at once; takes no lock. From anywhere."""
        runner = self.runner
        if runner is None:
            return None
        self._refuse_work(runner, timeout)
        runner.leave()
        return runner

    def _refuse_work(self, runner: Runner, timeout: float) -> None:
        if self._deadline is None:
            self._deadline = Deadline(timeout)
        runner.live.closing = True

    def stop(self, timeout: float) -> None:
        """Stop, and wait for the end, at most `timeout` seconds."""
        runner = self.runner
        if runner is None:
            return
        refuse_in_event_loop("await asyncio.to_thread(manager.stop)")
        if isinstance(runner, Resident) and runner.is_owner:
            self._refuse_work(runner, timeout)
            runner.close()
            return
        if self._executor is not None:
            self._executor.stopping.add(threading.get_ident())
            if self._executor.is_current:
                self._executor.waits_for_stop = True  # or the stop would wait for this thread
        self.ask_to_stop(timeout)()

    def ask_to_stop(self, timeout: float = STOP_TIMEOUT) -> Callable[[], None]:
        """Begin to stop. Return a function that waits for the end, until `timeout` from now."""
        deadline, ended = Deadline(timeout), self._ended
        runner = self.request_stop(timeout)
        return _nothing if runner is None else partial(self._wait_stopped, runner, ended, deadline)

    def _wait_stopped(self, runner: Runner, ended: Event, deadline: Deadline) -> None:
        left = deadline.left() or 0.0
        # The loop's thread has the same deadline. Wait a little longer, so that it can log what
        # it left behind.
        if ended.wait(min(left + 0.5, threading.TIMEOUT_MAX)):
            if self._executor is None or not self._executor.is_current:
                runner.join(max(0.1, deadline.left() or 0.0))
            return
        live = runner.live
        names = ", ".join(job.label for job in live.in_flight()) or "a callback on its loop"
        self.given_up = True
        report(logging.WARNING, "%s did not stop in time: %s holds its loop", live.status, names)
        # That code cannot be made to leave the loop, but no other thread has to wait for it.
        live.fail_unfinished()

    def _close(self, live: LiveLoop, executor: LoopExecutor | None) -> None:
        """Close the loop and leave every list: the last thing that the loop's thread does with it.

        Args:
            live: The loop. If its start has failed, the manager may have another one by now.
            executor: The loop's executor; None if other code closes the loop.
        """
        runner = self.runner
        ours = runner is not None and runner.live is live
        try:
            if executor is not None:
                on_stop = self._settings.on_stop if ours else None
                Shutdown(live, executor, budget=self._time_to_stop(), on_stop=on_stop).run()
            if bridge.active is not None:
                bridge.active.loop_closed(live.raw)
            if ours:
                self._on_stopped()
        finally:
            if self._raw is live.raw:
                self._raw = None
            if ours:  # else its start has failed, and start() sets the state
                self._finish()

    def _time_to_stop(self) -> float:
        """The seconds that are left until the deadline of the first stop."""
        return STOP_TIMEOUT if self._deadline is None else self._deadline.left() or 0.0

    def _finish(self) -> None:
        with self._lock:
            # The state first: a thread that reads without the lock must not find a running manager
            # without a loop.
            self._state = "stopped"
            self.task_type = None
            runner, self.runner = self.runner, None
            ended = self._ended  # after the lock, a start() may replace it
        if isinstance(runner, Resident):
            runner.forget()
        elif isinstance(runner, Guest):
            runner.go()
        observers.tell_stopped()
        ended.set()

    def inherit(self) -> object | None:
        """In a forked child: the manager is the parent's. Return what must never be collected.

        Closing the loop here would take its sockets out of the epoll set that is shared with
        the parent, whose loop would never wake again.
        """
        runner, self.runner = self.runner, None
        if runner is not None:
            runner.live.inherited = True
        self._state, self._raw = "inherited", None
        return runner


def _nothing() -> None:
    pass
