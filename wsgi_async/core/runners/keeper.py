"""The keeper: a thread of the manager's own, on which its loop lives."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from wsgi_async.core.base.log import report
from wsgi_async.core.loops.entering import LoopEntry
from wsgi_async.core.messages.errors import ManagerStateError

from .resident import PATIENCE, wakeup_here
from .runner import register

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsgi_async.core.base.primitives import Wakeup
    from wsgi_async.core.loops.live_loop import LiveLoop

__all__ = ["Keeper"]


class Keeper(LoopEntry):
    """Runs one loop on a thread of its own, which does nothing else.

    A call from any thread is a hop: the job goes to the loop, and the caller blocks until the
    keeper wakes it. Lives from a manager's `start()` to its `stop()`.

    Args:
        live: The live loop.
    """

    # Never changes:
    kind = "keeper"
    resident = False

    def __init__(self, live: LiveLoop) -> None:
        super().__init__(live)
        register(self)
        # Never changes:
        self._primitives = live.primitives
        self.begin = live.submit
        self._thread: threading.Thread
        # No lock: written by the keeper before start() returns.
        self.owner = 0

    def start(self, close: Callable[[], None], name: str) -> None:
        """Start the thread; on return the loop is running.

        Args:
            close: Called in the keeper's thread, as the last thing that it does.
            name: The thread's name.

        Raises:
            RuntimeError: The process cannot start another thread, or the loop is broken.
            BaseException: What a signal handler or another thread raised in this one meanwhile.
                In that case the new thread never runs, or it was told to end.
        """
        self.live.loop.thread = name
        running, ended = self._primitives.wakeup(), self._primitives.wakeup()
        once = threading.Lock()  # taken by the thread, or by us if it must not run any more

        def run() -> None:
            if not once.acquire(blocking=False):
                return
            self.owner = self._primitives.current()
            self._run(running, close)
            running.set()  # the loop may have failed before it ran anything
            ended.set()

        try:
            self._thread = self._primitives.start_thread(run, name)
            running.wait()
            if self.live.closing:
                raise ManagerStateError(
                    "The new event loop failed before it ran. The log has the error; look at your "
                    "loop_factory."
                )
        except BaseException:
            if not once.acquire(blocking=False):  # it runs, even if `_thread` is not set
                self.live.closing = True
                self.leave()
                ended.wait(PATIENCE)
            raise

    # -- from any thread -----------------------------------------------------------------------

    def wakeup(self) -> Wakeup:
        """A wake-up for one wait of the current thread."""
        return wakeup_here(self._primitives)

    def leave(self) -> None:
        """End the loop's run, so that the keeper checks for a stop. Takes no lock."""
        self.live.post(self.live.loop.stop)

    def join(self, timeout: float) -> None:
        """Wait for the thread's end."""
        self._thread.join(timeout)

    # -- in the keeper's thread ----------------------------------------------------------------

    def _run(self, running: Wakeup, close: Callable[[], None]) -> None:
        live = self.live
        try:
            live.raw.call_soon(running.set)
            while not live.closing:
                self.enter_again()
        except BaseException as error:
            # The error is not a task's: the loop itself is broken, for example its selector.
            live.closing = True
            report(
                logging.ERROR,
                "%s: the event loop failed and is being closed",
                live.status,
                error=error,
            )
        finally:
            close()
