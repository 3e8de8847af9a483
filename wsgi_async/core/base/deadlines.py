"""Deadlines: the moment after which a wait does not go on.

A request's deadline is in a context variable. Everything that runs in the request's context or in
a copy of it sees it, for example `asyncio.to_thread()`, and no other request does. It shortens
waits and does nothing by itself. It is an object, so that it ends with its request even for a
thread that was begun in the request and lives on with a copy of the context.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from wsgi_async.core.messages.errors import WaitTimeoutError

from .checks import check_timeout
from .primitives import Primitives

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["Deadline", "at_least", "bounded", "request_deadline", "time_left", "within"]


class Deadline:
    """A moment on the monotonic clock, or no limit. Lives as long as what it bounds.

    `until` is written by one thread; the others read it, and may see it a moment late.

    Args:
        seconds: From now; None for no limit.
    """

    __slots__ = ("until",)

    def __init__(self, seconds: float | None = None) -> None:
        self.until = None if seconds is None else Primitives.clock() + seconds

    def left(self) -> float | None:
        """Seconds until then, 0 when it has passed; None without a limit."""
        until = self.until
        return None if until is None else max(0.0, until - Primitives.clock())


request_deadline: ContextVar[Deadline | None] = ContextVar("wsgi_async deadline", default=None)
"""The present request's; None where nobody has set one."""


def bounded(timeout: float | None) -> float | None:
    """How long a wait may last, in seconds: its own timeout, or what the request leaves of it.

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
    """As `bounded()`, for what must not even begin after the deadline.

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


@contextmanager
def at_least(seconds: float) -> Generator[None]:
    """Give what runs in the block so many seconds, however little the request's deadline leaves.

    For code that must run after a deadline too: it answers for the request, or cleans up.
    """
    left = bounded(None)
    if left is None or left >= seconds:
        yield
        return
    token = request_deadline.set(Deadline(seconds))
    try:
        yield
    finally:
        request_deadline.reset(token)


def within(timeout: float | None, waited: float | None) -> str:
    """In an error's words, which of the two limits of a wait has passed.

    Args:
        timeout: What the caller asked for.
        waited: What `bounded()` made of it.
    """
    if waited is not None and (timeout is None or waited < timeout):
        return "before the request's deadline"
    return f"within {timeout} s"
