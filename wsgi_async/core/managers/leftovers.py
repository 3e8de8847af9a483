"""Tasks that a `run()` leaves behind, in debug mode."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from wsgi_async.core.base.log import report, with_origin
from wsgi_async.core.jobs.calling_thread import AskedFunction
from wsgi_async.core.jobs.job import Job, current_caller
from wsgi_async.core.loops.open_resources import belongs_to_resource, context_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsgi_async.core.runners.runner import Runner

__all__ = ["warn_of_leftovers"]


def warn_of_leftovers(runner: Runner) -> Callable[[], None]:
    """Remember the loop's tasks. The returned function warns of tasks made since."""
    live = runner.live
    before = asyncio.all_tasks(live.raw)

    def warn() -> None:
        for task in asyncio.all_tasks(live.raw) - before:
            # A job's task may end a moment after its outcome. A resource's task has to stay.
            if live.is_of_job(task) or belongs_to_resource(task) or not _left_by_run(task):
                continue
            report(
                logging.WARNING,
                "%s: run() left the task %s behind, %r; await it, or submit_task() it",
                live.status,
                with_origin(task.get_name()),
                task.get_coro(),
            )

    return warn


def _left_by_run(task: asyncio.Task[Any]) -> bool:
    """Whether a call that has ended made the task. Tasks of other calls may still be awaited."""
    context = context_of(task)
    caller = None if context is None else context.get(current_caller)
    while isinstance(caller, AskedFunction):  # a function on the waiting thread has made it
        caller = caller.outer
    return isinstance(caller, Job) and caller.done
