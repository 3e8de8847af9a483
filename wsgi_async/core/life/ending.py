"""What the end of a loop's work has in common, whether the loop is ours or somebody else's."""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING, Any

from wsgi_async.core.base.log import report
from wsgi_async.core.jobs import observers

if TYPE_CHECKING:
    import asyncio

    from wsgi_async.core.base.deadlines import Deadline
    from wsgi_async.core.loops.live_loop import LiveLoop

__all__ = ["Ending"]


class Ending:
    """The time of one stop, and what the log and the observers are told of it.

    On the loop's thread.

    Args:
        live: What ends.
        deadline: When all of it is to be over.
    """

    def __init__(self, live: LiveLoop, deadline: Deadline) -> None:
        self._live = live
        self._deadline = deadline
        self._cut_off: dict[asyncio.Task[Any], str] = {}  # what was not done, by name

    def _share(self, steps: int) -> float:
        """The seconds of the next step, if so many have to share what is left."""
        return (self._deadline.left() or 0.0) / steps

    def _refuse_queued(self) -> None:
        """End what has not begun; nothing can be added any more."""
        with self._live.mutex:
            jobs = list(self._live.queue)
        for job in jobs:
            self._live.request_cancel(job)

    def _leaving(self) -> set[asyncio.Task[Any] | None]:
        """What cleans up already, and is not to be cut short: also what an actor has begun."""
        return {actor.task for actor in self._live.actors if actor.leaving} | self._live.leaving

    def _note_cut_off(self, task: asyncio.Task[Any], name: str) -> None:
        if task not in self._cut_off:
            self._cut_off[task] = name
            observers.tell_cut_off(name)

    def _report_cut_off(self) -> None:
        if self._cut_off:
            counts = Counter(self._cut_off.values()).most_common()
            names = ", ".join(name if count == 1 else f"{count} x {name}" for name, count in counts)
            report(logging.INFO, "%s: its stop has cut off %s", self._live.status, names)

    def _report_failure(self, what: str, error: BaseException) -> None:
        report(logging.ERROR, "%s: " + what, self._live.status, error=error)

    def _complain(self, what: str) -> None:
        report(
            logging.WARNING,
            "%s: %s did not end in time when the manager was stopped",
            self._live.status,
            what,
        )
