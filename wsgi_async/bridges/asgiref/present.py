"""What asgiref notes in the present thread."""

from __future__ import annotations

import importlib
import os
import sys
import threading
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable

__all__ = [
    "asgiref_sync",
    "call_as_asgiref",
    "calling_loop",
    "forgetting_origin",
    "inner_tasks",
    "ours_is_in_place",
    "ready",
    "replaced_by_ours",
    "wrap_calls",
]

T = TypeVar("T")


def ready() -> bool:
    """Whether `asgiref.sync` has been imported in full: another thread may be at it.

    Imported here for users of `asgiref.local`, which is there already.
    """
    # Of its two classes this one comes last.
    return hasattr(importlib.import_module("asgiref.sync"), "SyncToAsync")


def asgiref_sync() -> Any:
    """The module `asgiref.sync`, which has been imported."""
    return sys.modules["asgiref.sync"]


_lock = threading.Lock()
_wrapped: list[Callable[[Any], Any]] = []  # what is done already; the lock guards the writing


def wrap_calls(wrap: Callable[[Any], Any]) -> None:
    """Put a function around asgiref's `AsyncToSync.__call__`, for good.

    From any thread; does nothing the second time.

    Args:
        wrap: Makes the function of the one that is there.
    """
    kind = asgiref_sync().AsyncToSync
    with _lock:
        if wrap not in _wrapped:
            _wrapped.append(wrap)
            kind.__call__ = wrap(kind.__call__)


def calling_loop() -> asyncio.AbstractEventLoop | None:
    """The loop whose `sync_to_async` has called the code that this thread runs, if any."""
    # Not getattr(): of a thread-local that lacks the name it takes ten times as long.
    notes = asgiref_sync().SyncToAsync.threadlocal.__dict__
    loop: asyncio.AbstractEventLoop | None = notes.get("main_event_loop")
    if loop is not None and notes.get("main_event_loop_pid") != os.getpid():
        return None  # set before a fork: the loop is the parent's
    return loop


def inner_tasks() -> list[Any] | None:
    """Where the coroutine that has called this thread's code looks for whom to cancel with it."""
    return getattr(asgiref_sync().SyncToAsync.threadlocal, "task_context", None)


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


# Written once, by the integration that puts ours in its place, and before it does.
_replaced: list[tuple[Callable[..., Any], Callable[[], bool]]] = []


def replaced_by_ours(method: Callable[..., Any], in_place: Callable[[], bool]) -> None:
    """Ours may be in the place of asgiref's own `AsyncToSync.__call__` from now on.

    Args:
        method: asgiref's own.
        in_place: Whether ours is.
    """
    _replaced.append((method, in_place))


def ours_is_in_place() -> bool:
    """Whether calls of asgiref's `AsyncToSync` run on the loop of the request or the thread."""
    return any(in_place() for _, in_place in _replaced)


def call_as_asgiref(function: Callable[[], Awaitable[T]]) -> T:
    """Call an async function the way asgiref does it."""
    kind = asgiref_sync().AsyncToSync
    call = _replaced[0][0] if _replaced else kind.__call__

    async def awaited() -> T:
        return await function()

    return call(kind(awaited))  # type: ignore[no-any-return]
