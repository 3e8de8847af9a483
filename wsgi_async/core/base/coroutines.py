"""Small helpers for coroutines and what is awaited like one."""

from __future__ import annotations

import asyncio
import inspect
import sys
from contextlib import AsyncContextDecorator
from types import CoroutineType
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Coroutine

__all__ = ["close_unstarted", "is_coroutine", "name_after", "name_of", "need_stack"]

T = TypeVar("T")

_ROOM = 120
"""Frames. A call of ours, asyncio's turn around it and the first steps of a coroutine fit in."""


def is_coroutine(value: object) -> bool:
    """Whether it can be run as a task."""
    # The type first: asyncio's function has to allow for generators too, and costs more.
    return type(value) is CoroutineType or asyncio.iscoroutine(value)


def close_unstarted(awaitable: object) -> None:
    """Close a coroutine that nobody has begun, or Python would warn that it was never awaited.

    One that has begun may be running on another thread right now.
    """
    if not asyncio.iscoroutine(awaitable):
        return
    # One of another type, for example Cython's, does not tell.
    if (
        type(awaitable) is not CoroutineType
        or inspect.getcoroutinestate(cast("Coroutine[Any, Any, Any]", awaitable))
        == inspect.CORO_CREATED
    ):
        awaitable.close()


def name_after(awaitable: object, coro: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
    """Have the log and errors call a coroutine what they would call the awaitable in it."""
    setattr(coro, "__qualname__", getattr(awaitable, "__qualname__", None) or repr(awaitable))  # noqa: B010 - mypy knows no such attribute
    return coro


def name_of(value: object) -> str:
    """What to call a coroutine, an iterable or a context manager in the log and in errors."""
    # @asynccontextmanager makes such decorators, which keep their generator.
    named: Any = getattr(value, "gen", value) if isinstance(value, AsyncContextDecorator) else value
    return getattr(named, "__qualname__", None) or repr(value)


def need_stack() -> None:
    """Raise unless there is room on the stack for a call of ours.

    With the stack running out half-way, an outcome could get lost, and its waiter would hang.

    Raises:
        RecursionError: There is too little room.
    """
    try:
        deep = _frame(sys.getrecursionlimit() - _ROOM) is not None
    except ValueError:  # pragma: no cover - Python 3.11 only
        deep = False
    if deep:
        raise RecursionError(
            "There is too little room left on the stack for an async call, so nothing was started. "
            "Call it higher up in the recursion."
        )


# There is no public way. From Python 3.12 on the first one is there, and raises nothing.
_frame = getattr(sys, "_getframemodulename", None) or sys._getframe  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
