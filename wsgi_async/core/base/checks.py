"""The checks before a thread blocks: whether it may block, and for how long."""

from __future__ import annotations

import asyncio
import inspect
import math
from numbers import Real

from wsgi_async.core.messages.advice import instead_of_waiting, kind_of
from wsgi_async.core.messages.errors import ManagerStateError, RunningLoopError

__all__ = [
    "check_count",
    "check_timeout",
    "inherited_error",
    "refuse_async",
    "refuse_in_event_loop",
    "running_loop",
]

# asyncio.events exports this function for code that builds on loops. The public
# get_running_loop() raises if no loop runs, so every call would pay for an exception.
running_loop = asyncio._get_running_loop


def check_timeout(timeout: float | None) -> float | None:
    """Convert a timeout to what the locks accept: None, or seconds from zero.

    Raises:
        TypeError: It is not a number.
        ValueError: It is NaN.
    """
    if timeout is None:
        return None
    if not isinstance(timeout, Real):
        raise TypeError(f"The timeout is {timeout!r}. Give seconds as a number, or None.")
    seconds = float(timeout)
    if math.isnan(seconds):
        raise ValueError("The timeout is not a number. Give seconds, or None to wait forever.")
    return None if seconds == math.inf else max(0.0, seconds)


def check_count(name: str, value: object) -> None:
    """Raise unless the value is a whole number from zero.

    Raises:
        TypeError: It is not an integer.
        ValueError: It is negative.
    """
    if not isinstance(value, int):
        raise TypeError(f"{name} is {value!r}. Give a whole number from zero.")
    if value < 0:
        raise ValueError(f"{name} is {value!r}. Give a whole number from zero.")


def refuse_async(function: object, instead: str) -> None:
    """Raise if a function is async: called like a sync one, it would do nothing.

    Args:
        function: The function to check.
        instead: What to do, as a sentence.

    Raises:
        TypeError: It is an async function.
    """
    if inspect.iscoroutinefunction(function):
        raise TypeError(f"{kind_of(function)} is async. {instead}")


def refuse_in_event_loop(instead: str) -> None:
    """Raise if the current thread runs an event loop, whichever loop that is.

    A wait would stop that loop, and the outcome may depend on this very loop. The check looks at
    the running loop, not at the thread. No thread that runs a loop can wait, so waits cannot form
    a cycle.

    Args:
        instead: What a coroutine does, in the imperative: "await this future".
    """
    if running_loop() is not None:
        raise RunningLoopError(
            "This thread runs an event loop, and waiting here would block it. "
            + instead_of_waiting(instead)
        )


def inherited_error(label: str) -> ManagerStateError:
    """The error for code that uses a manager of the parent process."""
    return ManagerStateError(
        f"{label} belongs to the parent process and cannot be used after a fork. "
        "Make a new one in this process with get_or_create_loop_manager()."
    )
