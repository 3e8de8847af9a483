"""The library's own errors. A mistake in a call raises the nearest builtin instead."""

from __future__ import annotations

import asyncio
import concurrent.futures
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "CallerNotFound",
    "Closing",
    "LoopNotFound",
    "ManagerNotFound",
    "ManagerStateError",
    "OutsideRequestError",
    "RunningLoopError",
    "TaskCancelledError",
    "UnknownAsyncTaskError",
    "WaitTimeoutError",
    "WsgiAsyncError",
]


class WsgiAsyncError(Exception):
    """The base class of the library's own errors.

    Each of them is a builtin exception as well, for example a `RuntimeError` or a `TimeoutError`,
    so you can catch them without this class. Exceptions that your coroutines raise are not wrapped
    in it.
    """


class ManagerStateError(WsgiAsyncError, RuntimeError):
    """A manager cannot be used now.

    It is not started, is stopping or stopped, belongs to the parent process, or does not respond.
    The message says which and what to do.
    """


class RunningLoopError(WsgiAsyncError, RuntimeError):
    """Sync code would block a running event loop, or tried to run, stop or close a manager's."""


class OutsideRequestError(WsgiAsyncError, RuntimeError):
    """Something that belongs to a request was used outside of it, or after its end."""


class WaitTimeoutError(WsgiAsyncError, TimeoutError):
    """The timeout of a wait, or the request's deadline, has passed."""


class LoopNotFound(WsgiAsyncError, LookupError):
    """A request has no loop, because its application is not wrapped or its response is closed."""


class CallerNotFound(WsgiAsyncError, LookupError):
    """`run_in_calling_thread()` was called in a coroutine that no thread waits for."""


class ManagerNotFound(WsgiAsyncError, LookupError):
    """Neither this thread nor the threads that started it have a manager with this id.

    Raised by `get_or_create_loop_manager(..., strictly_get=True)` only.

    Args:
        id: The id that was not found.
    """

    def __init__(self, id: object) -> None:
        super().__init__(id)
        self.id = id

    def __str__(self) -> str:
        return (
            f"No thread from this one up to the root has a loop manager with the id {self.id!r}. "
            "Make one in this thread, or in one of those above it, before it is looked for."
        )


def _no_route(_: object) -> bool:  # pragma: no cover - replaced when the package is imported
    return False


routed: Callable[[object], bool] = _no_route
"""Whether a task type has a route. `wsgi_async.routing` puts its own answer here."""


class UnknownAsyncTaskError(WsgiAsyncError, ValueError):
    """A coroutine was given to a manager that was started for another task type.

    The coroutine has been closed, and nothing was started.

    Args:
        given_type: The task type that came with the coroutine.
        expected_type: The task type that the manager was started with.
    """

    def __init__(self, given_type: object, expected_type: object) -> None:
        super().__init__(given_type, expected_type)
        self.given_type = given_type
        self.expected_type = expected_type

    def __str__(self) -> str:
        if self.expected_type is None and self._has_route():
            return (
                f"A coroutine was submitted with the task type {self.given_type!r}, which has a "
                "route. Call the submit() of its function instead: what is sent on is the "
                "function's name and arguments."
            )
        return (
            f"This manager takes tasks of the type {self.expected_type!r}, "
            f"not {self.given_type!r}. Pass task_type={self.expected_type!r}, "
            f"or use a manager started with {self.given_type!r}."
        )

    def _has_route(self) -> bool:
        try:
            return routed(self.given_type)
        except TypeError:
            return False  # it cannot be hashed


class TaskCancelledError(WsgiAsyncError, concurrent.futures.CancelledError, asyncio.CancelledError):
    """The coroutine that this thread waited for was canceled.

    `except asyncio.CancelledError` catches it. It is an `Exception` as well, because web frameworks
    answer exceptions with a response, and any other exception can end a server's thread or the
    whole worker.
    """

    def __str__(self) -> str:
        return super().__str__() or (
            "The coroutine that this thread waited for was canceled. Find out what calls cancel() "
            "on its task, or catch TaskCancelledError."
        )


class Closing(Exception):
    """The manager is being stopped: the work was not accepted, and nothing was started."""
