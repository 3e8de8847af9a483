"""Errors about another event loop: they get a note that explains the cause.

Nothing here runs unless there is an error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from .errors import RunningLoopError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["NOTE", "explain"]

NOTE = (
    "wsgi_async: an object that belongs to one event loop was used on another one. Most often it "
    "is a client in a module-level variable, or one that an SDK keeps for the process. Set "
    'per="process", or give each loop its own client with @loop_resource. See "My SDK keeps a '
    'global client" in the documentation of wsgi_async.'
)

# The words of asyncio, of uvloop, and of libraries that check for this themselves.
_WORDS = (
    "different event loop",
    "different loop",
    "event loop is closed",
    "non-thread-safe operation",
)
_MOST = 16
"""How many errors of a chain are checked at most."""


def explain(error: BaseException) -> None:
    """Add a note to an error that is about another event loop, or that such an error has caused.

    Libraries often raise an error of their own from it. Any other error stays as it is.
    """
    try:
        chain = list(_chain(error))
        if any(map(_is_about_loops, chain)) and not any(map(_has_note, chain)):
            error.add_note(NOTE)
    except Exception:  # noqa: S110 - an error of the user's whose attributes raise: it goes on as it is
        pass


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, what caused it, and what is in it if it is a group."""
    left, seen = [error], set[int]()
    while left and len(seen) < _MOST:
        one = left.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        left += [each for each in (one.__cause__, one.__context__) if each is not None]
        if isinstance(one, BaseExceptionGroup):
            left += cast("BaseExceptionGroup[BaseException]", one).exceptions


def _is_about_loops(error: BaseException) -> bool:
    # asyncio raises a ValueError if futures of two loops are gathered.
    if isinstance(error, RunningLoopError) or not isinstance(error, (RuntimeError, ValueError)):
        return False
    text = str(error).lower()
    return any(words in text for words in _WORDS)


def _has_note(error: BaseException) -> bool:
    return NOTE in getattr(error, "__notes__", ())
