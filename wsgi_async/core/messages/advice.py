"""The advice in errors, which depends on the code that gets them. Runs only when one is raised.

The stack frames tell which code it is: a coroutine that waits by itself, a sync function that a
coroutine has called, an async test, or a cell of a notebook.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import sys
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["instead_of_waiting", "kind_of", "not_a_coroutine", "not_an_async_iterable"]

_ASYNC = inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
_OURS = __name__.partition(".")[0] + "."


class _Caller(NamedTuple):
    """The nearest coroutine on the stack below the current code."""

    name: str
    module: str
    calls: str | None
    """The sync function that it called; None if it called the library itself."""


def instead_of_waiting(instead: str) -> str:
    """What to do instead of waiting in a thread that runs an event loop.

    Args:
        instead: What a coroutine does, in the imperative.
    """
    caller = _find_caller()
    if caller is not None and _in_notebook(caller):
        return (
            f"In a notebook, {instead}, at the top level of a cell. Call a sync function that "
            "waits with `await asyncio.to_thread(function)`."
        )
    if caller is None or caller.calls is None:
        return f"In a coroutine, {instead}."
    if caller.name.rpartition(".")[2].startswith("test"):
        return (
            f"The async test {caller.name} calls the sync function {caller.calls}, which waits. "
            "Make the test a sync function, or call that one with `await asyncio.to_thread()`."
        )
    return (
        f"The coroutine {caller.name} calls the sync function {caller.calls}, which waits. Await "
        "its async counterpart, or call it with `await asyncio.to_thread()`."
    )


def _find_caller() -> _Caller | None:
    frame: FrameType | None = sys._getframe(2)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - documented
    called: FrameType | None = None
    while frame is not None:
        if frame.f_code.co_flags & _ASYNC:
            ours = called is None or _module(called).startswith(_OURS)
            calls = None if ours or called is None else called.f_code.co_qualname
            return _Caller(frame.f_code.co_qualname, _module(frame), calls)
        called, frame = frame, frame.f_back
    return None


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _in_notebook(caller: _Caller) -> bool:
    # IPython runs a cell inside its own coroutine. A cell with an `await` is a coroutine itself.
    return caller.module.startswith("IPython.") or caller.name.startswith("<")


def kind_of(value: object) -> str:
    """How an error names a value: never by its contents, which may be secret."""
    name = getattr(value, "__qualname__", None)
    kind = type(value).__qualname__
    article = "an" if kind[0] in "aeiouAEIOU" else "a"
    return f"{name}, {article} {kind}," if isinstance(name, str) else f"A value of the type {kind}"


def not_a_coroutine(value: object) -> TypeError:
    """The error for a value that is not a coroutine, with what to pass instead."""
    kind = kind_of(value)
    if inspect.isasyncgen(value):
        advice = "is not a coroutine but an async generator. Iterate over it with iterate()."
    elif isinstance(value, concurrent.futures.Future):
        advice = "is not a coroutine but a future. Call its result()."
    elif asyncio.isfuture(value):
        advice = (
            "is not a coroutine but a future, which belongs to an event loop already. Make it in "
            "a coroutine: `async def both(): return await asyncio.gather(one(), two())`, and give "
            "`both()`."
        )
    elif hasattr(value, "__await__"):
        advice = (
            "is not a coroutine. Await it in one: `async def wait(): return await value`, and "
            "give `wait()`."
        )
    else:
        advice = f"is not a coroutine. {_how_to_get_one(value)}"
    return TypeError(f"{kind} {advice}")


def _how_to_get_one(value: object) -> str:
    if inspect.isasyncgenfunction(value):
        return "Call the async generator function, and iterate over what it returns with iterate()."
    if inspect.isroutine(value) and not inspect.iscoroutinefunction(value):
        return "It is a sync function. Call it as usual; if it returns a coroutine, pass that."
    if callable(value):
        return "Call the async function, and pass the coroutine that it returns."
    return "Pass the coroutine that an async function returns when you call it."


def not_an_async_iterable(value: object) -> TypeError:
    """The error for a value that is not an async iterable, with what to pass instead."""
    if inspect.iscoroutine(value):
        advice = "Its function has no `yield`, so it makes no items. Await it or run() it instead."
    elif callable(value):
        advice = "Call the async generator function, and pass what it returns."
    else:
        advice = "Pass an async generator, or another object with __aiter__()."
    return TypeError(f"{kind_of(value)} is not an async iterable. {advice}")
