"""A manager's life: start, stop, and what its state means to those who come too early or late."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from . import lineage
from .baton import Baton
from .driver import Driver
from .keeper import Keeper
from .log import logger
from .loops import BoundLoop, make_loop, may_change_thread
from .seam import Seam
from .shutdown import Shutdown
from .timer import shared_timer
from .waiting import inherited_error, refuse_in_event_loop

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from .manager import AsyncioLoopManager

__all__ = ["STOP_TIMEOUT", "Life"]

STOP_TIMEOUT = 10.0
"""Seconds for a stop that nobody gave a timeout: at the end of the owner, or of the process."""

_seam = Seam()


class Life:
    """Starts and stops one manager, again and again. Lives as long as the manager.

    `start()` and the end of the keeper change the manager's `_driver` and `state` under `_lock`.
    """

    def __init__(
        self,
        manager: AsyncioLoopManager,
        loop_factory: Callable[[], asyncio.AbstractEventLoop] | None,
        drive: str,
        *,
        linger: float,
        grace: float,
        seam: Seam = _seam,
    ) -> None:
        self._manager = manager
        self._loop_factory = loop_factory
        self._drive = drive
        self._linger = linger
        self._grace = grace
        self._seam = seam
        self._lock = threading.Lock()
        self._state = "new"
        self._ended = threading.Event()
        self._keeper: Keeper | None = None
        self._deadline: float | None = None  # of the stop that was asked for first

    @property
    def state(self) -> str:
        """new, running, stopping, stopped or inherited."""
        driver = self._manager._driver
        if self._state == "running" and driver is not None and driver.baton.closing:
            return "stopping"
        return self._state

    def refusal(self) -> RuntimeError:
        """Why the manager cannot be used now, and what to do."""
        label, state = self._manager._label(), self.state
        if state == "inherited":
            return inherited_error(label)
        if state == "new":
            return RuntimeError(f"{label} is not started. Call its start() first.")
        done = "is being stopped" if state == "stopping" else "was stopped"
        return RuntimeError(f"{label} {done}. Call its start() again when it has stopped.")

    # -- start -------------------------------------------------------------------------------

    def start(self, task_type: Hashable) -> None:
        """Make loop, baton, driver and keeper; all or nothing."""
        manager = self._manager
        with self._lock:
            if self._state == "inherited":
                raise self.refusal()
            if manager._driver is not None:
                raise RuntimeError(f"{manager._label()} is already started. Use it as it is.")
            self._deadline = None
            self._ended = threading.Event()
            driver = self._build()
            manager.task_type = task_type
            manager._driver = driver
            self._state = "running"

    def _build(self) -> Driver:
        seam = self._seam
        raw, selector = make_loop(self._loop_factory)
        if not isinstance(raw, asyncio.AbstractEventLoop):
            raise TypeError(f"loop_factory returned {raw!r}. It has to return an event loop.")
        loop = BoundLoop(raw)
        timer = shared_timer(seam)
        opened = False
        try:
            if self._manager._debug is not None:
                raw.set_debug(self._manager._debug)
            # Our own, as it can be shut down within a budget (see Shutdown).
            executor = ThreadPoolExecutor(thread_name_prefix="asyncio")
            raw.set_default_executor(executor)
            baton = self._make_baton(raw)
            keeper = Keeper(loop, selector, baton, seam, linger=self._linger)
            worker = timer.open()
            opened = True
            driver = Driver(
                loop,
                baton,
                seam,
                wake_keeper=keeper.wake,
                arm_timer=partial(worker.arm, keeper),
                grace=self._grace,
                label=self._manager._label(),
            )
            loop.guard(driver.label, driver.poke)
            self._keeper = keeper
            keeper.start(
                driver,
                partial(self._close, driver, executor),
                f"wsgi_async keeper {self._manager.id!r}",
            )
        except BaseException:
            if opened:
                timer.close()
            loop.unguard()
            raw.close()
            raise
        return driver

    def _make_baton(self, loop: asyncio.AbstractEventLoop) -> Baton:
        node = self._manager._node
        main = threading.main_thread()
        # In the main thread a signal handler could raise in the middle of somebody's task.
        keeper_only = self._drive == "keeper" or (
            self._drive == "auto" and (node.ident == main.ident or not may_change_thread(loop))
        )
        return Baton(
            self._seam,
            node.ident or 0,
            every_waiter_drives=self._drive == "caller",
            keeper_only=keeper_only,
        )

    # -- stop --------------------------------------------------------------------------------

    def request_stop(self, timeout: float = STOP_TIMEOUT) -> Driver | None:
        """Have the keeper stop everything; returns at once. Takes no lock, from anywhere."""
        driver = self._manager._driver
        if driver is None:
            return None
        if self._deadline is None:
            self._deadline = self._seam.clock() + timeout
        driver.baton.closing = True
        driver.post(driver.end_visit)
        assert self._keeper is not None
        self._keeper.wake()
        return driver

    def stop(self, timeout: float) -> None:
        """Stop, and wait for the end, at most `timeout` seconds."""
        driver, ended, keeper = self._manager._driver, self._ended, self._keeper
        if driver is None or keeper is None:
            return
        refuse_in_event_loop("await asyncio.to_thread(manager.stop)")
        if driver.baton.holder == self._seam.current():
            raise RuntimeError(
                f"{driver.label} is driven by this thread right now. Stop it when its run() is over."
            )
        deadline = self._seam.clock() + timeout
        self.request_stop(timeout)
        self.wait_stopped(driver, ended, keeper, deadline)

    def wait_stopped(
        self, driver: Driver, ended: threading.Event, keeper: Keeper, deadline: float
    ) -> None:
        """Wait for a stop that was asked for; past the deadline say what holds it up."""
        if not ended.wait(max(0.0, deadline - self._seam.clock()) + 0.5):
            names = ", ".join(job.name for job in driver.in_flight()) or "a callback on its loop"
            logger.warning(
                "%s did not stop in time: its loop is held up by %s", driver.label, names
            )
            # Nobody can take the loop away from it, but nobody else has to wait for it either.
            fail_waiters(driver)
            return
        if keeper.thread is not None:
            keeper.thread.join(max(0.1, deadline - self._seam.clock()))

    def _close(self, driver: Driver, executor: ThreadPoolExecutor) -> None:
        """The keeper's last act: close the loop and leave every list."""
        deadline = self._deadline or self._seam.clock() + STOP_TIMEOUT
        budget = max(0.0, deadline - self._seam.clock())
        Shutdown(driver, executor, budget=budget).run()
        manager = self._manager
        with lineage.lock():
            manager._node.owned.pop(manager, None)
            if manager._node.found.get(manager.id) is manager:
                del manager._node.found[manager.id]
        shared_timer(self._seam).close()
        with self._lock:
            manager._driver = None
            manager.task_type = None
            self._keeper = None
            self._state = "stopped"
        self._ended.set()

    def inherit(self) -> object | None:
        """In a forked child: the manager is the parent's. Returns what must never be collected.

        Closing the loop here would take its sockets out of the epoll set that is shared with
        the parent, whose loop would never wake again.
        """
        driver, self._manager._driver = self._manager._driver, None
        if driver is not None:
            driver.inherited = True
        if driver is not None or self._state == "new":
            self._state = "inherited"
        return driver


def fail_waiters(driver: Driver) -> None:
    """Wake everybody who waits for a job of a driver that cannot be stopped."""
    for job in driver.unfinished():
        driver.finish(job, exception=asyncio.CancelledError(), cancelled=True)
    driver.fail_followed()
