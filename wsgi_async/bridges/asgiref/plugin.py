"""What the core tells asgiref, and asks it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from wsgi_async.core.runners.runner import runner_of

from .calling_thread import AsCallingThread, calling_thread
from .cancelling import cancel_with_caller
from .locals import forget_critical, move_here, value_back, watch_critical
from .one_off import watch_one_off_loops
from .one_thread import submit_for, thread_inbox
from .present import asgiref_sync, call_as_asgiref, calling_loop
from .standing import watch_own_calls

if TYPE_CHECKING:
    import asyncio
    import contextvars
    from collections.abc import Awaitable, Callable, Coroutine
    from contextlib import AbstractContextManager

    from wsgi_async.core.jobs.inbox import Inbox

__all__ = ["Plugin"]

T = TypeVar("T")


class Plugin:
    """The core's `Bridge` to asgiref. Lives as long as the process."""

    def __init__(self) -> None:
        watch_critical()
        watch_one_off_loops()

    def loop_opened(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have asgiref ask us for what runs on this loop."""
        asgiref_sync().AsyncToSync.loop_thread_executors[loop] = calling_thread
        runner = runner_of(loop)
        if runner is not None and runner.resident:
            watch_own_calls()

    def loop_closed(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take that back."""
        asgiref_sync().AsyncToSync.loop_thread_executors.pop(loop, None)
        forget_critical()

    def context_moved(self, context: contextvars.Context) -> None:
        """Have all `Local`s of a context show here what they hold."""
        move_here(context)

    def value_back(
        self, variable: contextvars.ContextVar[Any], value: Any, old: Any, *, inner: bool
    ) -> Any:
        """What of a `Local` the caller is to see."""
        return value_back(variable, value, old, inner=inner)

    def submitted(self, context: contextvars.Context) -> None:
        """Have work in this context find the function on asgiref's thread that submits it."""
        inbox = thread_inbox() or submit_for.get()
        if inbox is not None:
            context.run(submit_for.set, inbox)

    def thread_inbox(self) -> Inbox | None:
        """The inbox of a function on asgiref's one thread."""
        return thread_inbox()

    def calling_loop(self) -> asyncio.AbstractEventLoop | None:
        """The loop whose `sync_to_async` has called this thread's code."""
        return calling_loop()

    def calling(self) -> AbstractContextManager[None]:
        """Have asgiref ask us in copies of the present context."""
        return AsCallingThread()

    def call(self, function: Callable[[], Awaitable[T]]) -> T:
        """Call an async function the way asgiref does it."""
        return call_as_asgiref(function)

    def cancel_with_caller(self, coro: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
        """Put the coroutine's task on asgiref's list of whom to cancel."""
        return cancel_with_caller(coro)
