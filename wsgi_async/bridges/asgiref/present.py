"""What asgiref notes in the present thread."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

__all__ = ["asgiref_sync", "calling_loop", "forgetting_origin"]

T = TypeVar("T")


def asgiref_sync() -> Any:
    """The module `asgiref.sync`, which has been imported."""
    return sys.modules["asgiref.sync"]


def calling_loop() -> asyncio.AbstractEventLoop | None:
    """The loop whose `sync_to_async` has called the code that this thread runs, if any."""
    # Not getattr(): of a thread-local that lacks the name it takes ten times as long.
    notes = asgiref_sync().SyncToAsync.threadlocal.__dict__
    loop: asyncio.AbstractEventLoop | None = notes.get("main_event_loop")
    if loop is not None and notes.get("main_event_loop_pid") != os.getpid():
        return None  # set before a fork: the loop is the parent's
    return loop


def forgetting_origin(function: Callable[[], T]) -> T:
    """Run a function for which asgiref notes in the thread where it comes from.

    It leaves its notes there. Its own threads run nothing else; ours do.
    """
    local = asgiref_sync().SyncToAsync.threadlocal
    notes = local.__dict__
    before = notes.get("main_event_loop"), notes.get("task_context")
    try:
        return function()
    finally:
        local.main_event_loop, local.task_context = before
