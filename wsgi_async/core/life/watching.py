"""Connects a live loop to our own selector, which notices lost wake-ups."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

from wsgi_async.core.base.log import report
from wsgi_async.core.jobs import observers

if TYPE_CHECKING:
    from wsgi_async.core.loops.live_loop import LiveLoop

__all__ = ["watch"]


def watch(live: LiveLoop) -> None:
    """Have lost wake-ups reported, and let the loop become idle before it is left."""
    selector = live.selector
    reported: list[bool] = []

    def lost() -> None:
        observers.tell_lost()
        if reported:
            return
        reported.append(True)
        waited = ", ".join(sorted(job.label for job in live.in_flight())[:3])
        report(
            logging.WARNING,
            "%s: a wake-up from another thread was lost and came up to a second late, while %s "
            "waited. Some object that belongs to one event loop, such as an HTTP client at module "
            'level, is used by several threads. Set per="process", or give each loop its own with '
            "@loop_resource",
            live.status,
            waited or "nothing",
        )

    if selector is None:
        return
    selector.work = live.jobs
    selector.lost = lost
    live.leave_soon = partial(selector.leave_soon, live.loop.stop)
