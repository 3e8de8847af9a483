"""Deadlines: a wait ends when its deadline passes.

A request's deadline is in a context variable. All code that runs in the request's context or in a
copy of it sees the deadline, for example in `asyncio.to_thread()`. Other requests do not see it.
The deadline shortens waits and does nothing by itself. It is an object, so that it ends with its
request even for a thread that was started in the request and lives on with a copy of the context.
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING

from wsgi_async.core.messages.errors import WaitTimeoutError

from .checks import check_timeout
from .primitives import Primitives

if TYPE_CHECKING:
    from collections.abc import Generator
    from contextlib import AbstractContextManager

__all__ = ["Deadline", "at_least", "bounded", "request_deadline", "time_left", "within"]


class Deadline:
    """A moment on the monotonic clock, or no limit. Lives as long as what it limits.

    One thread writes its fields. The other threads read them, and may see a change a moment late.

    Args:
        seconds: Seconds from now; None for no limit.
    """

    __slots__ = ("extended_to", "until")

    def __init__(self, seconds: float | None = None) -> None:
        self.until = None if seconds is None else Primitives.clock() + seconds
        self.extended_to: float | None = None  # while a block has more time

    def left(self) -> float | None:
        """Seconds until the deadline, 0 when it has passed; None without a limit."""
        return self._left(self.until)

    def _left(self, until: float | None) -> float | None:
        if until is None:
            return None
        if self.extended_to is not None:
            until = max(until, self.extended_to)
        return max(0.0, until - Primitives.clock())

    @contextmanager
    def extended(self, seconds: float) -> Generator[None]:
        """Give the code in the block at least `seconds`. In the thread that writes the deadline."""
        before, self.extended_to = self.extended_to, Primitives.clock() + seconds
        try:
            yield
        finally:
            self.extended_to = before


request_deadline: ContextVar[Deadline | None] = ContextVar("wsgi_async deadline", default=None)
"""The deadline of the current request; None if it has none."""


def bounded(timeout: float | None) -> float | None:
    """How many seconds a wait may last: its own timeout, or less if the request ends earlier.

    Raises:
        TypeError, ValueError: As `check_timeout()`.
    """
    if timeout is not None:
        timeout = check_timeout(timeout)
    deadline = request_deadline.get()
    left = None if deadline is None else deadline.left()
    if left is None:
        return timeout
    return left if timeout is None else min(timeout, left)


def time_left(timeout: float | None) -> float | None:
    """As `bounded()`, for work that must not start after the deadline.

    Raises:
        WaitTimeoutError: The deadline has passed.
    """
    seconds = bounded(timeout)
    if seconds == 0 and bounded(None) == 0:
        raise WaitTimeoutError(
            "The request's deadline has passed, so this was not started. "
            "Give the request more time, or use the manager's submit_task() for work that may "
            "outlive the request."
        )
    return seconds


def at_least(seconds: float) -> AbstractContextManager[None]:
    """Give the code in the block at least `seconds`, even after the request's deadline.

    For code that must also run after a deadline, because it answers for the request or cleans up.
    """
    deadline = request_deadline.get()
    left = None if deadline is None else deadline.left()
    if deadline is None or left is None or left >= seconds:
        return nullcontext()  # it costs less
    return deadline.extended(seconds)


def within(timeout: float | None, waited: float | None) -> str:
    """Tell which of a wait's two limits has passed, as a part of an error message.

    Args:
        timeout: What the caller asked for.
        waited: What `bounded()` returned for it.
    """
    if waited is not None and (timeout is None or waited < timeout):
        return "before the request's deadline"
    return f"within {timeout} s"
