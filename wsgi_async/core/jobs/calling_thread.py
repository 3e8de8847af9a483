"""`run_in_calling_thread`: sync code of a coroutine, on the thread that waits for it."""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from wsgi_async.core.base.errors import CallerNotFound

from .job import current_caller

if TYPE_CHECKING:
    from collections.abc import Callable

    from .job import Asked

__all__ = ["ask_caller", "run_in_calling_thread"]

P = ParamSpec("P")
T = TypeVar("T")


async def run_in_calling_thread(fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a sync function on the thread that waits for this coroutine, and return its result.

    Use it for code that belongs to the calling thread: a database session and its transaction,
    a request object, a thread-local. The thread that called `run()`, `iterate()` or another
    blocking method runs the function while it waits. The function sees the coroutine's context
    variables, runs with no running event loop, and may call `run()` again.

    Call it in a coroutine. If the coroutine is canceled before the function has begun, the
    function does not run.

    Args:
        fn: The function.
        *args: Its positional arguments.
        **kwargs: Its keyword arguments.

    Raises:
        CallerNotFound: No thread waits for this coroutine, for example because it was submitted
            with `submit_task()`.
        BaseException: What the function raised.
    """
    function = partial(copy_context().run, partial(fn, *args, **kwargs))
    future = ask_caller(current_caller.get(), function, asyncio.get_running_loop())
    if future is None:
        raise CallerNotFound(
            "No thread waits for this coroutine, so none can run the function. Call the coroutine "
            "with run() in the thread that the function needs, or use asyncio.to_thread()."
        )
    return await future  # type: ignore[no-any-return]


def ask_caller(
    caller: Asked | None, function: Callable[[], Any], loop: asyncio.AbstractEventLoop
) -> asyncio.Future[Any] | None:
    """On the loop: have a waiting thread run a function; a future of its outcome.

    If the caller's wait is over, because a task that the coroutine left behind asks, an outer
    caller of the same loop is asked. None if there is none.
    """
    if caller is None:
        return None
    call = _Call(function, loop)
    while caller is not None:
        if caller.ask(loop, call.run):
            return call.future
        caller = caller.outer
    return None


class _Call:
    """One function and the future of its outcome. Lives until the coroutine has that."""

    def __init__(self, function: Callable[[], Any], loop: asyncio.AbstractEventLoop) -> None:
        self._function = function
        self._loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()

    def run(self) -> None:
        """In the waiting thread: run the function; raises nothing."""
        # A canceled one is not begun. One that is canceled from now on is not interrupted.
        if self.future.cancelled():
            return
        result: Any = None
        error: BaseException | None = None
        try:
            result = self._function()
        except StopIteration as stop:
            error = RuntimeError("A sync function raised StopIteration.")
            error.__cause__ = stop
        except BaseException as raised:
            error = raised
        try:
            self._loop.call_soon_threadsafe(self._deliver, result, error)
        except RuntimeError:
            if not self._loop.is_closed():  # else its stop has ended the coroutine already
                raise
        finally:
            del error  # its traceback holds this frame: no cycle

    def _deliver(self, result: Any, error: BaseException | None) -> None:
        future = self.future
        if future.done():
            return
        if error is None:
            future.set_result(result)
            return
        future.set_exception(error)
        if isinstance(error, (asyncio.CancelledError, TimeoutError)):
            # It mostly comes with the coroutine's own cancellation, or from the deadline that
            # both have. The coroutine has had that then, and asyncio would log this one.
            future.exception()
