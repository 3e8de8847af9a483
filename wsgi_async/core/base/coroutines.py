"""Small helpers for coroutines and other awaitables."""

from __future__ import annotations

import asyncio
import functools
import inspect
import sys
from contextlib import AsyncContextDecorator
from types import CoroutineType
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Coroutine

__all__ = [
    "close_refused",
    "close_unstarted",
    "is_coroutine",
    "is_ordinary",
    "name_after",
    "name_of",
    "need_stack",
    "qualified_name",
]

T = TypeVar("T")

_ROOM = 120
"""Frames. Enough for a call of ours, asyncio's turn around it and a coroutine's first steps."""


def is_coroutine(value: object) -> bool:
    """Whether the value can run as a task."""
    # Check the type first: asyncio's function also allows for generators, and costs more.
    return type(value) is CoroutineType or asyncio.iscoroutine(value)


def is_ordinary(error: BaseException) -> bool:
    """Whether it is an outcome of a coroutine, and not meant for its thread, as Ctrl-C is."""
    return isinstance(error, (Exception, asyncio.CancelledError))


def close_unstarted(awaitable: object) -> None:
    """Close a coroutine that has not started, so that Python does not warn about it.

    A coroutine that has started is left alone: it may be running on another thread right now. So
    is one of another type than Python's own, because it does not tell.
    """
    if (
        type(awaitable) is CoroutineType
        and inspect.getcoroutinestate(cast("Coroutine[Any, Any, Any]", awaitable))
        == inspect.CORO_CREATED
    ):
        awaitable.close()


def close_refused(coro: Coroutine[Any, Any, Any]) -> None:
    """Close a coroutine that was not taken, unless it has started elsewhere."""
    if type(coro) is CoroutineType:
        close_unstarted(cast("object", coro))
    else:
        coro.close()


def name_after(awaitable: object, coro: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
    """Give a coroutine the name of the awaitable that it wraps, for the log and for errors."""
    setattr(coro, "__qualname__", qualified_name(awaitable))  # noqa: B010 - mypy knows no such attribute
    return coro


def name_of(value: object) -> str:
    """The name of a coroutine, an iterable or a context manager in the log and in errors."""
    # @asynccontextmanager makes objects of this class, which keep their generator in `gen`.
    named: Any = getattr(value, "gen", value) if isinstance(value, AsyncContextDecorator) else value
    return qualified_name(named)


def qualified_name(value: object) -> str:
    """The qualified name of a function, a coroutine or a class, or else that of the value's type.

    Never a `repr()`: it may contain a password, and an address that no two objects share. Names go
    into the log and into the labels of metrics.
    """
    while isinstance(value, functools.partial):
        value = value.func
    return getattr(value, "__qualname__", None) or type(value).__qualname__


def need_stack() -> None:
    """Raise unless the stack has room for a call of ours.

    If the stack ran out in the middle of it, an outcome could get lost, and its waiter would hang.

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


# There is no public function for this. The first one exists since Python 3.12; it never raises.
_frame = getattr(sys, "_getframemodulename", None) or sys._getframe  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
