"""Run the functions of asgiref's `sync_to_async` on the thread that waits for the coroutine.

asgiref passes the function to an executor: `AsyncToSync.executors.current` of the current context,
or else the one in `AsyncToSync.loop_thread_executors` for the running loop. This module puts its
own executor in both places.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from concurrent.futures import Executor
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from wsgi_async.core.jobs.calling_thread import ask_caller

from .one_thread import submit_to
from .present import asgiref_sync, forgetting_origin

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

__all__ = ["AsCallingThread", "ask_us_in", "calling_thread"]

P = ParamSpec("P")
T = TypeVar("T")


class _CallingThread(Executor):
    """Runs functions on the thread that waits for the calling coroutine."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run a function. On a loop, called by the loop's `run_in_executor()`.

        Usually returns a future of the running loop: asyncio takes that as it is, and the outcome
        needs no detour through `call_soon_threadsafe()`.
        """
        function = partial(fn, *args, **kwargs)

        def run_elsewhere() -> Future[T]:  # if no thread waits any more
            return submit_to(asgiref_sync().SyncToAsync.single_thread_executor, function)

        future: Any = ask_caller(
            partial(forgetting_origin, function),
            asyncio.get_running_loop(),
            lambda: asyncio.wrap_future(run_elsewhere()),
        )
        return run_elsewhere() if future is None else future


calling_thread = _CallingThread()


class AsCallingThread:
    """A context manager: asgiref uses our executor in copies of the current context.

    asgiref looks in the context first. It may find its own executor there, which refuses to serve
    the thread that it belongs to, and which takes precedence even over a `ThreadSensitiveContext`.

    Lives as long as one call. A class, because a generator would take several times as long.
    """

    __slots__ = ("_undo",)

    def __enter__(self) -> None:
        executors = asgiref_sync().AsyncToSync.executors
        known, variable, value = _mark.found
        if known is not executors:
            variable, value = _mark.find(executors)
        if variable is None:
            self._undo: Callable[[], object] = _put(executors)
        else:
            self._undo = partial(variable.reset, variable.set(value))

    def __exit__(self, *_: object) -> None:
        self._undo()


class _Mark(threading.local):
    """How asgiref's `Local` for its executors stores our executor, in the current thread.

    Setting and resetting the context variable behind the `Local` takes a tenth of the time that the
    `Local` takes: the `Local` copies its contents, and raises if it is empty. asgiref keeps nothing
    but the one executor in it.
    """

    found: tuple[Any, contextvars.ContextVar[Any] | None, Any] = (None, None, None)
    """The `Local`, its variable and the variable's value. The variable is None if the `Local` needs
    more than one, or if asgiref (up to 3.9) changes the value itself instead of replacing it."""

    def find(self, executors: Any) -> tuple[contextvars.ContextVar[Any] | None, Any]:
        """Find the variable and its value, by setting the executor twice in an empty context."""
        context = contextvars.Context()
        context.run(setattr, executors, "current", calling_thread)
        variable, value = next(iter(context.items())) if len(context) == 1 else (None, None)
        context.run(setattr, executors, "current", calling_thread)
        if variable is not None and context[variable] is value:
            variable = None
        self.found = executors, variable, value
        return variable, value


_mark = _Mark()


def ask_us_in(context: contextvars.Context) -> None:
    """Make asgiref use our executor in a context that names another thread for sync code.

    Under ASGI a request has such a thread, and so has each call of `async_to_sync`. If sync code on
    that thread waits for us, the thread is blocked.
    """
    kind = asgiref_sync().SyncToAsync
    if context.get(kind.thread_sensitive_context) is not None or _has_executor(context):
        context.run(AsCallingThread().__enter__)


def _has_executor(context: contextvars.Context) -> bool:
    executors = asgiref_sync().AsyncToSync.executors
    known, variable, _ = _mark.found
    if known is not executors:
        variable, _ = _mark.find(executors)
    if variable is None:
        return context.run(getattr, executors, "current", None) is not None
    return context.get(variable) is not None


def _put(executors: Any) -> Callable[[], object]:
    """Put our executor in place; the returned function restores the previous one."""
    before = getattr(executors, "current", None)
    executors.current = calling_thread
    return partial(setattr, executors, "current", before)
