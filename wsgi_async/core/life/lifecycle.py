"""A manager's life: start, stop, and what its state means to those who come too early or late."""

from __future__ import annotations

import asyncio
import threading
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from . import lineage, thread_sensitive
from .baton import Baton
from .checks import inherited_error, refuse_in_event_loop
from .driver import Driver
from .forks import warn_of_silent_forks
from .keeper import Keeper
from .log import logger
from .loops import BoundLoop, make_loop, may_change_thread
from .pauses import PauseWatch
from .shutdown import LoopExecutor, Shutdown
from .timer import shared_timer

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from .settings import Settings

__all__ = ["STOP_TIMEOUT", "Life"]

STOP_TIMEOUT = 10.0
"""Seconds for a stop that nobody gave a timeout: at the end of the owner, or of the process."""


class Life:
    """Starts and stops one manager, again and again. Lives as long as the manager.

    Args:
        id: The manager's id.
        node: The manager's thread.
        settings: The manager's settings.
        on_stopped: Called in the keeper's thread when the loop is closed.
    """

    def __init__(
        self,
        id: Hashable,
        node: lineage.ThreadNode,
        settings: Settings,
        on_stopped: Callable[[], None],
    ) -> None:
        self.id = id
        self.task_type: Hashable = None
        # None whenever the manager is not to be used. Written under the lock, and read without:
        # a call that is overtaken by a stop() is refused by the baton.
        self.driver: Driver | None = None
        self.given_up = False  # a stop has waited as long as it was told, in vain
        # Called when the owner thread ends, by that thread, so it takes no lock: whether the
        # manager goes on without an owner. None: it does not.
        self.outlive: Callable[[], bool] | None = None
        self._node = node
        self._settings = settings
        self._seam = settings.seam
        self._on_stopped = on_stopped
        self._lock = threading.Lock()  # guards all below, and the writing of `driver`
        self._state = "new"
        self._ended = threading.Event()  # one for each start
        self._keeper: Keeper | None = None
        self._deadline: float | None = None  # of the stop that was asked for first

    @property
    def state(self) -> str:
        """new, running, stopping, stopped or inherited."""
        driver = self.driver
        if self._state == "running" and driver is not None and driver.baton.closing:
            return "stopping"
        return self._state

    @property
    def label(self) -> str:
        """What to call the manager in messages."""
        thread = None if self._node.thread is None else self._node.thread()
        owner = self._node.ident if thread is None else repr(thread.name)
        return f"AsyncioLoopManager id={self.id!r} of thread {owner}"

    def refusal(self) -> RuntimeError:
        """Why the manager cannot be used now, and what to do."""
        label, state = self.label, self.state
        if state == "inherited":
            return inherited_error(label)
        if state == "new":
            return RuntimeError(f"{label} is not started. Call its start() first.")
        done = "is being stopped" if state == "stopping" else "was stopped"
        return RuntimeError(f"{label} {done}. Call its start() again when it has stopped.")

    # -- start -------------------------------------------------------------------------------

    def start(self, task_type: Hashable) -> None:
        """Make loop, baton, driver and keeper; all or nothing."""
        if self._state == "inherited":
            raise self.refusal()  # before the lock: another thread may have held it at the fork
        with self._lock:
            if self.state == "stopping":
                raise self.refusal()
            if self.driver is not None:
                raise RuntimeError(
                    f"{self.label} is already started. Use it as it is, or stop() it first."
                )
            self._deadline = None
            self._ended = threading.Event()
            self.driver = self._build()
            self.task_type = task_type
            self._state = "running"
        warn_of_silent_forks(lambda: self.label)

    def _build(self) -> Driver:
        timer = shared_timer(self._seam)
        with ExitStack() as undo:
            raw, selector = make_loop(self._settings.loop_factory)
            loop = BoundLoop(raw)
            undo.callback(loop.give_back)
            executor = self._prepare(raw)
            baton = self._make_baton(raw, keeper_rests=selector is None)
            linger = self._settings.linger
            keeper = Keeper(loop, selector, baton, self._seam, linger=linger)
            clock = timer.open()
            undo.callback(timer.close)
            limit = self._settings.max_pause
            pauses = PauseWatch(baton, keeper.wake, limit, lambda: self.label)
            driver = Driver(
                loop,
                selector,
                baton,
                self._seam,
                wake_keeper=keeper.wake,
                arm_timer=partial(clock.arm, keeper),
                watch_pauses=partial(clock.arm, pauses),
                grace=self._settings.grace,
                label=self.label,
            )
            loop.guard(lambda: driver.label, driver.poke)
            self._keeper = keeper
            close = partial(self._close, driver, executor)
            keeper.start(driver, close, f"wsgi_async keeper {self.id!r}")
            undo.pop_all()
        return driver

    def _prepare(self, loop: asyncio.AbstractEventLoop) -> LoopExecutor:
        if self._settings.debug is not None:
            loop.set_debug(self._settings.debug)
        executor = LoopExecutor(thread_name_prefix="asyncio")
        loop.set_default_executor(executor)
        return executor

    def _make_baton(self, loop: asyncio.AbstractEventLoop, *, keeper_rests: bool) -> Baton:
        node, drive = self._node, self._settings.drive
        main = threading.main_thread()
        # In the main thread a signal handler could raise in the middle of somebody's task.
        keeper_only = drive == "keeper" or (
            drive == "auto" and (node.ident == main.ident or not may_change_thread(loop))
        )
        return Baton(
            self._seam,
            node.ident or 0,
            every_waiter_drives=drive == "caller",
            keeper_only=keeper_only,
            keeper_rests=keeper_rests,
        )

    def adopt(self, node: lineage.ThreadNode) -> bool:
        """Make the calling thread the owner of a manager that has outlived its own.

        Returns:
            False if it has an owner, or is being stopped.
        """
        driver = self.driver
        if driver is None or not driver.baton.adopt(self._seam.current()):
            return False
        self._node = node
        driver.rename(self.label)
        return True

    # -- stop --------------------------------------------------------------------------------

    def owner_ended(self) -> None:
        """The owner thread is ending: have the keeper stop everything, unless the manager is kept.

        Takes no lock.
        """
        if self.outlive is None or not self.outlive():
            self.request_stop()

    def request_stop(self, timeout: float = STOP_TIMEOUT) -> Driver | None:
        """Have the keeper stop everything; returns at once. Takes no lock, from anywhere."""
        driver = self.driver
        if driver is None:
            return None
        if self._deadline is None:
            self._deadline = self._seam.clock() + timeout
        driver.baton.closing = True
        driver.post(driver.end_visit)
        # Read once: the keeper may end, and leave no trace, between any two of these lines.
        keeper = self._keeper
        if keeper is not None:
            keeper.wake()
        return driver

    def stop(self, timeout: float) -> None:
        """Stop, and wait for the end, at most `timeout` seconds."""
        driver = self.driver
        if driver is None:
            return
        refuse_in_event_loop("await asyncio.to_thread(manager.stop)")
        if driver.baton.holder == self._seam.current():
            raise RuntimeError(
                f"{self.label} is driven by this thread right now. Stop it when its run() is over."
            )
        self.ask_to_stop(timeout)()

    def ask_to_stop(self, timeout: float = STOP_TIMEOUT) -> Callable[[], None]:
        """Begin to stop; returns what waits for the end, at most `timeout` seconds from now."""
        deadline = self._seam.clock() + timeout
        ended, keeper = self._ended, self._keeper
        driver = self.request_stop(timeout)
        if driver is None or keeper is None:
            return _nothing
        return partial(self._wait_stopped, driver, ended, keeper, deadline)

    def _wait_stopped(
        self, driver: Driver, ended: threading.Event, keeper: Keeper, deadline: float
    ) -> None:
        left = max(0.0, deadline - self._seam.clock())
        # The keeper keeps to the same deadline; a little more, so that it can say what it left.
        if not ended.wait(min(left + 0.5, threading.TIMEOUT_MAX)):
            names = ", ".join(job.name for job in driver.in_flight()) or "a callback on its loop"
            logger.warning("%s did not stop in time: %s holds its loop", driver.label, names)
            self.given_up = True
            # Nobody can take the loop away from it, but nobody else has to wait for it either.
            driver.fail_unfinished()
        elif keeper.thread is not None:
            keeper.thread.join(max(0.1, deadline - self._seam.clock()))

    def _close(self, driver: Driver, executor: LoopExecutor) -> None:
        """The keeper's last act: close the loop and leave every list."""
        deadline = self._deadline or self._seam.clock() + STOP_TIMEOUT
        budget = max(0.0, deadline - self._seam.clock())
        Shutdown(driver, executor, budget=budget).run()
        thread_sensitive.forget(driver.loop.raw)
        self._on_stopped()
        shared_timer(self._seam).close()
        with self._lock:
            self.driver = None
            self.task_type = None
            self._keeper = None
            self._state = "stopped"
        self._ended.set()

    def inherit(self) -> object | None:
        """In a forked child: the manager is the parent's. Returns what must never be collected.

        Closing the loop here would take its sockets out of the epoll set that is shared with
        the parent, whose loop would never wake again.
        """
        driver, self.driver = self.driver, None
        if driver is not None:
            driver.inherited = True
        self._state = "inherited"
        return driver


def _nothing() -> None:
    pass
