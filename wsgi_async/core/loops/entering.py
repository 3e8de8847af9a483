"""Entering a loop, on the thread that it lives on."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from wsgi_async.core.base.log import report
from wsgi_async.core.base.masking import call_masked

if TYPE_CHECKING:
    from .live_loop import LiveLoop

__all__ = ["LoopEntry"]


_TOO_OFTEN = 3


class LoopEntry:
    """Runs one loop until its `stop()` is called. Lives as long as the loop; for its thread only.

    Args:
        live: The live loop.
    """

    def __init__(self, live: LiveLoop) -> None:
        # Never changes:
        self.live = live
        self._run_forever = live.primitives.entry(live.loop.run_forever)
        # One thread, the loop's:
        self._failures = 0  # entries in a row that failed before any callback ran
        # No lock: written by the loop's thread; a hint for other threads.
        self.inside = False  # whether that thread is in the loop
        self.entries = 0  # how often it has entered the loop

    def enter(self) -> None:
        """Run the loop until its own `stop()` is called.

        asyncio lets a SystemExit or KeyboardInterrupt of any task leave the loop. The tasks of jobs
        never raise them, so they come from a task that no thread waits for.

        Raises:
            Exception: The loop itself is broken, or other code has injected it into this thread.
        """
        self.entries += 1
        self.inside = True
        try:
            call_masked(self._run_forever)
        except (SystemExit, KeyboardInterrupt) as error:
            report(
                logging.ERROR,
                "%s: %s escaped from a task that nobody waits for; the loop continues",
                self.live.status,
                type(error).__name__,
                error=error,
            )
        finally:
            self.inside = False

    def enter_again(self) -> None:
        """As `enter()`, for a thread that has to continue after an exception leaves the loop.

        If the user's logging raises, asyncio lets that exception leave the loop. A broken loop
        fails each time, before it runs any callback.

        Raises:
            Exception: The loop itself is broken.
        """
        self.live.raw.call_soon(self._called)
        try:
            self.enter()
        except Exception as error:
            self._failures += 1
            if self._failures > _TOO_OFTEN:
                raise
            report(logging.ERROR, "%s: the event loop was left", self.live.status, error=error)

    def _called(self) -> None:
        self._failures = 0
