"""Visits of the loop: how the thread that holds the baton enters it, and comes out again."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING

from .log import logger

if TYPE_CHECKING:
    from .loops import BoundLoop, WatchedSelector
    from .seam import Seam

__all__ = ["TURNS", "Visits"]

TURNS = 5
"""Of the loop, for others before a caller leaves it: enough for a task of a few steps."""


class Visits:
    """Enters one loop. Lives as long as its driver; only for the thread that holds the baton.

    Args:
        loop: The loop, with its methods bound before they were guarded.
        selector: The loop's selector if it is ours.
        seam: The loop's entry.
        label: What to call the manager in the log.
    """

    def __init__(
        self, loop: BoundLoop, selector: WatchedSelector | None, seam: Seam, label: str
    ) -> None:
        self.stop = loop.stop
        self._selector = selector
        self.label = label
        self._enter = seam.entry(loop.run_forever)

    def visit(self) -> None:
        """Run the loop until `stop()` is called on it."""
        try:
            self._enter()
        except (SystemExit, KeyboardInterrupt) as error:
            # asyncio lets these two through from any task, ours come wrapped. In the main
            # thread (drive="caller") it may be the terminal's, so there it counts as ours.
            if threading.current_thread() is threading.main_thread():
                raise
            logger.error(
                "%s: %s escaped from a task that nobody waits for; the loop goes on",
                self.label,
                type(error).__name__,
                exc_info=error,
            )

    def run_ready(self) -> bool:
        """Run what is ready on the loop, and what that makes ready.

        Returns:
            Whether the loop has come to rest. With a loop that cannot tell, it is taken to have.
        """
        if self._selector is None:
            for _ in range(TURNS):
                self.stop()
                self.visit()
            return True
        turns = itertools.count(1)
        rest: list[float | None] = []

        def at_rest(timeout: float | None) -> None:
            rest.append(timeout)
            self.stop()

        def turned() -> None:
            if next(turns) >= TURNS:
                self.stop()

        self._selector.ask(lambda: True, at_rest, turned)
        try:
            self.visit()
        finally:
            self._selector.ask_no_more()
        return bool(rest)
