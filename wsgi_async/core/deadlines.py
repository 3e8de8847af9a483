"""The deadline of a request: the moment after which none of its threads' waits goes on.

It is a context variable. So it is seen by all that runs in the request's context or in a copy of
it, `asyncio.to_thread()` for one, and by no other request. It shortens waits and does nothing by
itself: who does not wait never notices it.
"""

from __future__ import annotations

import time
from contextvars import ContextVar

__all__ = ["bounded", "deadline", "time_left", "within"]

deadline: ContextVar[float | None] = ContextVar("wsgi_async deadline", default=None)
"""As `time.monotonic()` counts; None where there is none."""


def bounded(timeout: float | None) -> float | None:
    """How long a wait may last, in seconds: its own timeout, or what the deadline leaves of it.

    Args:
        timeout: Seconds, or None; returned as it is where there is no deadline.
    """
    until = deadline.get()
    if until is None:
        return timeout
    left = max(0.0, until - time.monotonic())
    return left if timeout is None else min(timeout, left)


def time_left(timeout: float | None) -> float | None:
    """As `bounded()`, for what must not even begin after the deadline.

    Raises:
        TimeoutError: The deadline is over.
    """
    until = deadline.get()
    if until is not None and until <= time.monotonic():
        raise TimeoutError(
            "The request's deadline is over, so this was not started. "
            "Give the request more time, or submit_task() to the manager what may outlive it."
        )
    return bounded(timeout)


def within(timeout: float | None, waited: float | None) -> str:
    """In an error's words, which of the two limits of a wait is over.

    Args:
        timeout: What the caller asked for.
        waited: What `bounded()` made of it.
    """
    if waited is not None and (timeout is None or waited < timeout):
        return "before the request's deadline"
    return f"within {timeout} s"
