"""asgiref's `sync_to_async`, whose code is to run on the thread that waits for it.

asgiref hands the function to an executor: `AsyncToSync.executors.current` of the present context,
or else the one in `AsyncToSync.loop_thread_executors` for the running loop. We put one of ours in
both places. Nothing here imports asgiref: where nobody else has, there is nothing to do.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import sys
import threading
from concurrent.futures import Executor
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from .one_thread import submit_to
from .sync_calls import current_calls

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from concurrent.futures import Future

__all__ = [
    "AsCallingThread",
    "asgiref_sync",
    "call_asgiref",
    "forget",
    "inner_tasks",
    "origin",
    "replaced_by_ours",
    "serve_loop",
]

P = ParamSpec("P")
T = TypeVar("T")


def asgiref_sync() -> Any:
    """The module `asgiref.sync` if somebody has imported it; None otherwise."""
    module = sys.modules.get("asgiref.sync")
    # Another thread may be just importing it. Of its two classes this one comes last.
    return module if hasattr(module, "SyncToAsync") else None


class _CallingThread(Executor):
    """Runs functions on the thread that waits for the coroutine that asks."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have a function run. On a loop, by way of its `run_in_executor()`.

        Where no thread waits any more, asgiref's own for such cases takes it.

        Returns:
            A future of the running loop, as a rule: asyncio takes one as it is, and the outcome
            needs no detour by `call_soon_threadsafe()`.
        """
        calls = current_calls.get()
        if calls is not None:
            function = partial(_forgetting_origin, partial(fn, *args, **kwargs))
            future: Any = calls.submit(function, asyncio.get_running_loop())
            if future is not None:
                return future  # type: ignore[no-any-return]
        executor: Executor = asgiref_sync().SyncToAsync.single_thread_executor
        background = None if calls is None else calls.background
        return submit_to(executor, partial(fn, *args, **kwargs), background)


_calling_thread = _CallingThread()


def serve_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Have asgiref ask us for what runs on this loop."""
    asgiref_sync().AsyncToSync.loop_thread_executors[loop] = _calling_thread


def forget(loop: asyncio.AbstractEventLoop) -> None:
    """The loop is being closed."""
    if (asgiref := asgiref_sync()) is not None:
        asgiref.AsyncToSync.loop_thread_executors.pop(loop, None)


class AsCallingThread:
    """Has asgiref ask us for what runs in copies of the present context; a context manager.

    It looks there first. What it finds may be an executor of its own, which refuses to serve the
    thread that it belongs to, and comes even before a `ThreadSensitiveContext`.

    Lives as long as one call. A class, as a generator would take several times as long.
    """

    __slots__ = ("_undo",)

    def __enter__(self) -> None:
        self._undo: Callable[[], object] | None = None
        if (asgiref := asgiref_sync()) is not None:
            executors = asgiref.AsyncToSync.executors
            known, variable, value = _mark.found
            if known is not executors:
                variable, value = _mark.find(executors)
            if variable is None:
                self._undo = _put(executors)
            else:
                self._undo = partial(variable.reset, variable.set(value))

    def __exit__(self, *_: object) -> None:
        if self._undo is not None:
            self._undo()


class _Mark(threading.local):
    """What asgiref's `Local` for its executors makes of ours, in the current thread.

    To set and reset the context variable behind it takes a tenth of the time that the `Local`
    takes: it copies what it holds, and raises where it holds nothing. asgiref has nothing but the
    one executor in there.
    """

    found: tuple[Any, contextvars.ContextVar[Any] | None, Any] = (None, None, None)
    """The `Local`, its variable and that one's value. None for the variable where it is not all in
    one, or where asgiref (before 3.9) changes the value itself instead of putting another there."""

    def find(self, executors: Any) -> tuple[contextvars.ContextVar[Any] | None, Any]:
        """Find variable and value, by setting the executor twice in an empty context."""
        context = contextvars.Context()
        context.run(setattr, executors, "current", _calling_thread)
        variable, value = next(iter(context.items())) if len(context) == 1 else (None, None)
        context.run(setattr, executors, "current", _calling_thread)
        if variable is not None and context[variable] is value:
            variable = None
        self.found = executors, variable, value
        return variable, value


_mark = _Mark()


def _put(executors: Any) -> Callable[[], object]:
    """Put our executor in its place; the returned function gives back what was there."""
    before = getattr(executors, "current", None)
    executors.current = _calling_thread
    return partial(setattr, executors, "current", before)


def origin() -> asyncio.AbstractEventLoop | None:
    """The loop whose `sync_to_async` has called the code that this thread runs, if any."""
    if (asgiref := asgiref_sync()) is None:
        return None
    local = asgiref.SyncToAsync.threadlocal
    # Not getattr(): of a thread-local that lacks the name it takes ten times as long.
    notes = local.__dict__
    loop: asyncio.AbstractEventLoop | None = notes.get("main_event_loop")
    if loop is not None and notes.get("main_event_loop_pid") != os.getpid():
        return None  # set before a fork: the loop is the parent's
    return loop


def inner_tasks() -> list[Any] | None:
    """Where the coroutine that has called this thread's code looks for whom to cancel with it."""
    if (asgiref := asgiref_sync()) is None:
        return None
    return getattr(asgiref.SyncToAsync.threadlocal, "task_context", None)


# Written once, by who puts ours in its place, and before that.
_replaced: list[Callable[..., Any]] = []


def replaced_by_ours(method: Callable[..., Any]) -> None:
    """This is asgiref's own `AsyncToSync.__call__`, and ours may be in its place from now on."""
    _replaced.append(method)


def call_asgiref(function: Callable[[], Awaitable[T]]) -> T:
    """Call an async function the way asgiref does it."""
    kind = asgiref_sync().AsyncToSync
    call = _replaced[0] if _replaced else kind.__call__

    async def awaited() -> T:
        return await function()

    return call(kind(awaited))  # type: ignore[no-any-return]


def _forgetting_origin(function: Callable[[], T]) -> T:
    """Run a function for which asgiref notes in the thread where it comes from.

    It leaves its notes there. Its own threads run nothing else; ours do.
    """
    local = asgiref_sync().SyncToAsync.threadlocal
    notes = local.__dict__
    before = notes.get("main_event_loop"), notes.get("task_context")
    try:
        return function()
    finally:
        local.main_event_loop, local.task_context = before
