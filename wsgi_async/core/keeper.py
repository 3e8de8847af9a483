"""The keeper: a manager's own thread, which drives the loop whenever nobody else does.

With work in flight it holds the baton and sits in the loop. Without, and with a selector of ours,
it gives the baton back and watches the selector's descriptor from outside (an epoll or kqueue
descriptor can itself be polled): a caller then finds the baton free, with no thread to wait for.
With another loop it keeps the baton at rest, and is asked to leave. While callers come and go it
is parked, and the linger timer wakes it when they stay away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .log import logger
from .moves import KeeperMove

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from .baton import Baton
    from .driver import Driver
    from .loops import BoundLoop, WatchedSelector
    from .seam import Seam

__all__ = ["Keeper"]


class Keeper:
    """The thread that keeps one loop alive. Lives from a manager's `start()` to its `stop()`.

    Args:
        loop: The loop, with its methods bound before they were guarded.
        selector: The loop's selector if it is ours.
        baton: Who may drive.
        seam: Wake-ups, watching, threads.
        linger: How long callers stay away before the keeper has a look at the loop, in seconds.
    """

    def __init__(
        self,
        loop: BoundLoop,
        selector: WatchedSelector | None,
        baton: Baton,
        seam: Seam,
        *,
        linger: float,
    ) -> None:
        self._loop = loop
        self._selector = selector
        self._baton = baton
        self._seam = seam
        self.linger = linger
        self._signal = seam.signal()
        self._watching = False  # written by the keeper; who wakes it reads it after the signal
        # The keeper's own, written and read in its thread only.
        self._idle = False
        self._next_timer: float | None = None
        self.thread: threading.Thread | None = None
        self._start_soon: Callable[[], None] | None = None

    def start(self, driver: Driver, close: Callable[[], None], name: str) -> None:
        """Start the thread.

        Args:
            driver: Runs the loop.
            close: Run in the keeper's thread, with the baton, as the last thing it does.
            name: The thread's name.

        Raises:
            RuntimeError: The process cannot start another thread.
        """
        self._start_soon = driver.start_soon
        self.thread = self._seam.start_thread(lambda: self._run(driver, close), name)

    # -- from any thread, without a lock -----------------------------------------------------

    def wake(self) -> None:
        """Make the keeper look at the baton again."""
        # The keeper says that it watches, then looks at the signal; we set the signal, then
        # look whether it watches. One of the two sees the other.
        self._signal.set()
        if self._watching:
            try:
                self._loop.call_soon_threadsafe(_nothing)
            except RuntimeError:
                pass  # closed: the keeper has ended

    def linger_over(self) -> float | None:
        """For the linger timer: have a look at the loop if the callers have stayed away."""
        until = self._baton.linger_over(self.linger)
        if until is None and self._baton.due:
            self.wake()
            if self._baton.queue and self._start_soon is not None:
                self._start_soon()  # where the keeper rests in the loop, as in any other case
        return until

    # -- in the keeper's thread ----------------------------------------------------------------

    def _run(self, driver: Driver, close: Callable[[], None]) -> None:
        self._baton.keeper = self._seam.current()
        while True:
            move = self._baton.keeper_move(watchable=self._selector is not None)
            if move is KeeperMove.DRIVE:
                self._drive(driver)
            elif move is KeeperMove.WATCH and self._selector is not None:
                self._watch(self._selector)
            elif move is KeeperMove.PARK:
                self._signal.wait()
            else:
                close()
                return

    def _drive(self, driver: Driver) -> None:
        self._idle = False
        self._next_timer = None
        if self._selector is not None:
            self._selector.ask(self._baton.keeper_may_idle, self._leave, driver.start_queued)
        try:
            while not (self._idle or self._baton.closing or self._baton.keeper_yields()):
                driver.start_queued()
                driver.visits.visit()
        except Exception:
            # Not from a task: the loop itself is broken, its selector for one.
            logger.exception("%s: the event loop failed and is being closed", driver.label)
            self._baton.closing = True
        finally:
            if self._selector is not None:
                self._selector.ask_no_more()
            self._baton.keeper_leaves(at_rest=self._idle)

    def _leave(self, timeout: float | None) -> None:
        """Leave the loop, with no work of ours in flight, and remember its next timer."""
        self._idle = True
        self._next_timer = None if timeout is None else self._seam.clock() + timeout
        self._loop.stop()

    def _watch(self, selector: WatchedSelector) -> None:
        self._watching = True
        if not self._signal.wait(0):
            until = self._next_timer
            timeout = None if until is None else max(0.0, until - self._seam.clock())
            self._seam.watch(selector.fileno(), timeout)
            # If a caller drives by now, what is ready may well be its own. The keeper parks
            # then, and does not watch again before the caller has left and lingered.
            self._baton.look()
        self._watching = False


def _nothing() -> None:
    pass
