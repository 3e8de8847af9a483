"""How long a driver stays outside of its loop for a sync function, and what happens then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .log import logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from .baton import Baton

__all__ = ["PauseWatch"]


class PauseWatch:
    """Has the keeper take over a loop whose driver is outside for too long.

    The sync function may be waiting for something that only the loop can bring. Lives as long as
    the loop; asked by the linger timer's thread.

    Args:
        baton: Who drives.
        wake_keeper: Makes the keeper look at the baton; takes no lock.
        limit: Seconds.
        label: Tells what to call the manager in the log.
    """

    def __init__(
        self,
        baton: Baton,
        wake_keeper: Callable[[], None],
        limit: float,
        label: Callable[[], str],
    ) -> None:
        self._baton = baton
        self._wake_keeper = wake_keeper
        self._label = label
        self.linger = limit

    def linger_over(self) -> float | None:
        """Take over if it is time; when to ask again."""
        taken, until = self._baton.take_over(self.linger)
        if taken:
            self._wake_keeper()
            logger.warning(
                "%s: a sync function that a coroutine called has run for %s s on the thread that "
                "drives; the keeper drives from now on, and steps that coroutine to its end",
                self._label(),
                self.linger,
            )
        return until
