"""asgiref's `sync_to_async`, whose code is to run on the thread that waits for it.

asgiref hands the function to an executor: `AsyncToSync.executors.current` of the present context,
or else the one in `AsyncToSync.loop_thread_executors` for the running loop. We put one of ours in
both places.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from concurrent.futures import Executor
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from wsgi_async.core.jobs.calling_thread import ask_caller
from wsgi_async.core.jobs.job import current_caller

from .one_thread import submit_to
from .present import asgiref_sync, forgetting_origin

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

__all__ = ["AsCallingThread", "ask_us_in", "calling_thread"]

P = ParamSpec("P")
T = TypeVar("T")


class _CallingThread(Executor):
    """Runs functions on the thread that waits for the coroutine that asks."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have a function run. On a loop, by way of its `run_in_executor()`.

        Returns a future of the running loop, as a rule: asyncio takes one as it is, and the outcome
        needs no detour by `call_soon_threadsafe()`.
        """
        function = partial(fn, *args, **kwargs)

        def run_elsewhere() -> Future[T]:  # where no thread waits any more
            return submit_to(asgiref_sync().SyncToAsync.single_thread_executor, function)

        caller = current_caller.get()
        if caller is not None:
            future: Any = ask_caller(
                caller,
                partial(forgetting_origin, function),
                asyncio.get_running_loop(),
                lambda: asyncio.wrap_future(run_elsewhere()),
            )
            if future is not None:
                return future  # type: ignore[no-any-return]
        return run_elsewhere()


calling_thread = _CallingThread()


class AsCallingThread:
    """Has asgiref ask us for what runs in copies of the present context; a context manager.

    It looks there first. What it finds may be an executor of its own, which refuses to serve the
    thread that it belongs to, and comes even before a `ThreadSensitiveContext`.

    Lives as long as one call. A class, as a generator would take several times as long.
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
    """What asgiref's `Local` for its executors makes of ours, in the current thread.

    To set and reset the context variable behind it takes a tenth of the time that the `Local`
    takes: it copies what it holds, and raises where it holds nothing. asgiref has nothing but the
    one executor in there.
    """

    found: tuple[Any, contextvars.ContextVar[Any] | None, Any] = (None, None, None)
    """The `Local`, its variable and that one's value. None for the variable where it is not all in
    one, or where asgiref (up to 3.9) changes the value itself instead of putting another there."""

    def find(self, executors: Any) -> tuple[contextvars.ContextVar[Any] | None, Any]:
        """Find variable and value, by setting the executor twice in an empty context."""
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
    """Have asgiref ask us in a context that names another thread for its code.

    Under ASGI a request has such a thread, and so has each call of `async_to_sync`. Where sync code
    on that thread waits for us, it is blocked.
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
    """Put our executor in its place; the returned function gives back what was there."""
    before = getattr(executors, "current", None)
    executors.current = calling_thread
    return partial(setattr, executors, "current", before)
