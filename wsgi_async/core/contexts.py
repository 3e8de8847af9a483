"""Around one `run()`: context variables on their way back, and tasks that are left behind."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

from .asgiref_locals import differ, is_local, moved_here
from .households import belongs_to_host
from .log import logger

if TYPE_CHECKING:
    import contextvars
    from collections.abc import Callable

    from .driver import Driver

__all__ = ["copy_changes", "warn_of_leftovers"]

_MISSING = object()


def copy_changes(source: contextvars.Context, before: contextvars.Context | None) -> None:
    """Set in the current context what a coroutine set in its own.

    Args:
        source: The context that the coroutine ran in.
        before: The same before it ran; None if it was a copy of the current one.
    """
    for variable, value in source.items():
        old = variable.get(_MISSING) if before is None else before.get(variable, _MISSING)
        if old is value:
            continue
        # Of another thread: the one that stepped the coroutine, perhaps its last steps only.
        if is_local(value) and value.thread_id != threading.get_ident():
            if differ(value, old):
                variable.set(moved_here(value))
        else:
            variable.set(value)


def warn_of_leftovers(driver: Driver) -> Callable[[], None]:
    """Remember the loop's tasks; the returned function warns of those that have come since."""
    before = asyncio.all_tasks(driver.loop.raw)

    def warn() -> None:
        tracked = {job.task for job in driver.in_flight()}
        for task in asyncio.all_tasks(driver.loop.raw) - before - tracked:
            if belongs_to_host(task):
                continue  # a loop resource, which is there to stay
            logger.warning(
                "%s: run() left the task %s behind, %r; await it, or submit_task() it",
                driver.label,
                task.get_name(),
                task.get_coro(),
            )

    return warn
