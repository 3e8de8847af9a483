"""How the thread that a loop lives on enters it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from wsgi_async.core.base.log import report

if TYPE_CHECKING:
    from .live_loop import LiveLoop

__all__ = ["LoopEntry"]


class LoopEntry:
    """Runs one loop until somebody stops it. Lives as long as the loop; for its thread only.

    Args:
        live: The live loop.
    """

    def __init__(self, live: LiveLoop) -> None:
        # Never changes:
        self.live = live
        self._run_forever = live.primitives.entry(live.loop.run_forever)

    def enter(self) -> None:
        """Run the loop until its own `stop()` is called.

        asyncio lets SystemExit and KeyboardInterrupt through from any task. Tracked coroutines
        never raise them there, so they come from a task that nobody waits for.

        Raises:
            Exception: The loop itself is broken, or somebody has injected it into this thread.
        """
        try:
            self._run_forever()
        except (SystemExit, KeyboardInterrupt) as error:
            report(
                logging.ERROR,
                "%s: %s escaped from a task that nobody waits for; the loop goes on",
                self.live.label,
                type(error).__name__,
                error=error,
            )
