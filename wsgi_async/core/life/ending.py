"""What all ends of a loop's work have in common, on our own loops and on other code's loops."""

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
    """The time of one stop, and its reports to the log and to the observers.

    On the loop's thread.

    Args:
        live: The loop whose work ends.
        deadline: When all of the stop has to be over.
    """

    def __init__(self, live: LiveLoop, deadline: Deadline) -> None:
        self._live = live
        self._deadline = deadline
        self._cut_off: dict[asyncio.Task[Any], str] = {}  # unfinished tasks, and their names

    def _share(self, steps: int) -> float:
        """The seconds for the next step, if so many steps have to share the time that is left."""
        return (self._deadline.left() or 0.0) / steps

    def _refuse_queued(self) -> None:
        """End the jobs that have not begun. No job can be added any more."""
        with self._live.mutex:
            jobs = list(self._live.queue)
        for job in jobs:
            self._live.request_cancel(job)

    def _leaving(self) -> set[asyncio.Task[Any] | None]:
        """The tasks, also those of actors, that already clean up and must not be cut short."""
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
