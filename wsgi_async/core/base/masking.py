"""Keep the exception that a thread handles when it enters its loop out of the loop's exceptions.

While a thread handles an exception, Python makes it the context of each exception raised further
down the stack, also by tasks of other requests. They would carry it to their waiters and the log.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["call_masked", "unmask"]


class _Mask(Exception):
    """Replaces the exception that the thread is handling. Lives as long as the loop's run."""


def call_masked(fn: Callable[[], None]) -> None:
    """Call a function. Its exceptions do not get the one that this thread handles as context."""
    if sys.exc_info()[1] is None:
        fn()
        return
    try:
        raise _Mask("The thread was handling an exception of its own when it entered the loop")
    except _Mask as mask:
        mask.__context__ = mask.__traceback__ = None
        fn()


def unmask(error: BaseException) -> None:
    """Remove the `_Mask` from an exception that leaves the loop."""
    seen: set[int] = set()
    left: list[BaseException | None] = [error]
    while left:
        one = left.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one.__context__, _Mask):
            one.__context__ = None
        left += (one.__context__, one.__cause__)
        if isinstance(one, BaseExceptionGroup):
            left += cast("BaseExceptionGroup[BaseException]", one).exceptions
