"""`run_in_calling_thread()`: a coroutine runs sync code on the thread that waits for it."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager, suppress
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from wsgi_async.core.base.checks import inherited_error, refuse_async
from wsgi_async.core.base.coroutines import is_ordinary
from wsgi_async.core.messages.errors import CallerNotFound

from .job import callers, current_caller

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from .job import Asked, Home, ServedFunction

__all__ = ["AskedFunction", "ask_caller", "run_in_calling_thread"]

P = ParamSpec("P")
T = TypeVar("T")

_NOBODY = (
    "No thread waits for this coroutine, so none can run the function. Call the coroutine with "
    "run() in the thread that the function needs, or use asyncio.to_thread()."
)


async def run_in_calling_thread(fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a sync function on the thread that waits for this coroutine, and return its result.

    Use it for code that belongs to the calling thread: a database session and its transaction,
    a request object, a thread-local. The thread that called `run()`, `iterate()` or another
    blocking method runs the function while it waits. The function sees the coroutine's context
    variables, runs with no running event loop, and may call `run()` again.

    Call it in a coroutine. If the coroutine is canceled before the function has begun, the function
    does not run. A function that has begun is not interrupted. If the function is waiting in a
    `run()`, that coroutine is canceled too, and this coroutine ends when the function returns.
    Otherwise this coroutine ends at once, and the function goes on.

    Args:
        fn: The function.
        *args: Its positional arguments.
        **kwargs: Its keyword arguments.

    Raises:
        TypeError: The function is async.
        CallerNotFound: No thread waits for this coroutine, for example because it was submitted
            with `submit_task()`.
        BaseException: What the function raised.
    """
    refuse_async(fn, "Await it here, or pass a sync function.")
    context = copy_context()
    function = AskedFunction(
        partial(context.run, partial(fn, *args, **kwargs)), asyncio.get_running_loop()
    )
    context.run(current_caller.set, function)  # so that its run() calls find it
    if not function.ask_around():
        raise CallerNotFound(_NOBODY)
    try:
        return await function.outcome()  # type: ignore[no-any-return]
    finally:
        del context, function  # the exception's traceback holds this frame: avoid a cycle


def ask_caller(
    function: Callable[[], Any],
    loop: asyncio.AbstractEventLoop,
    otherwise: Callable[[], asyncio.Future[Any]],
) -> asyncio.Future[Any] | None:
    """On the loop: have a waiting thread run a function; return a future of its outcome.

    Args:
        function: The function.
        loop: The running loop.
        otherwise: Has the function run elsewhere, if the thread that has it queued never runs it.

    Returns:
        The future; None if no thread waits.
    """
    asked = AskedFunction(function, loop, otherwise)
    return asked.future if asked.ask_around() else None


class AskedFunction:
    """A function that a coroutine asks a waiting thread to run. Lives until it has the outcome.

    Coroutines that the function starts with `run()` ask this object as their caller.

    Args:
        function: The function.
        loop: The running loop, of the coroutine that asks.
        otherwise: See `ask_caller()`.
    """

    # No lock: written on the loop by the caller that queues us, before the thread sees us.
    home: Home

    def __init__(
        self,
        function: Callable[[], Any],
        loop: asyncio.AbstractEventLoop,
        otherwise: Callable[[], asyncio.Future[Any]] | None = None,
    ) -> None:
        # Here, not in a function: each query of an async view takes this path.
        task = asyncio.current_task() if callers else None
        noted = None if task is None else callers.get(task)
        # Never changes:
        self.outer: Asked | None = current_caller.get() if noted is None else noted()
        self._loop = loop
        self._otherwise = otherwise
        # No lock: written on the loop. The thread that runs the function checks once whether the
        # future is canceled, and may see it late.
        self.future: asyncio.Future[Any] = loop.create_future()
        # No lock: removed by the thread that runs it. Its context refers to us: avoid a cycle.
        self._function: Callable[[], Any] | None = function
        # No lock: the thread appends and removes, the loop copies. Each item cancels a coroutine
        # that the function waits for.
        self.waits: list[Callable[[], object]] = []
        # No lock: written by the thread that runs it, for itself.
        self.thread: int | None = None

    # -- on the loop ---------------------------------------------------------------------------

    def ask_around(self) -> bool:
        """Queue the function for the first thread that still waits; False if none does.

        A task may ask after the coroutine that started it has ended. Then no thread waits for the
        first caller any more, so an outer caller of the same loop is asked.
        """
        caller = self.outer
        while caller is not None:
            if caller.ask(self._loop, self):
                return True
            caller = caller.outer
        self._function = None  # no thread will run it: avoid a cycle
        return False

    def ask(self, loop: asyncio.AbstractEventLoop, function: ServedFunction) -> bool:  # noqa: ARG002
        """See `Asked`. The function's thread does not wait for us, but for an outer caller."""
        return False

    def lose(self) -> None:
        """The waiting thread will not run the function: have it run elsewhere, or fail."""
        self._function = None
        if self.future.done():
            return
        if self._otherwise is None:
            self._deliver(None, CallerNotFound(_NOBODY))
        else:
            self._otherwise().add_done_callback(self._take_over)

    def _take_over(self, other: asyncio.Future[Any]) -> None:
        if other.cancelled():  # pragma: no cover - an executor that drops it at its end
            self.future.cancel()
        else:
            error = other.exception()
            self._deliver(None if error is not None else other.result(), error)

    async def outcome(self) -> Any:
        """Wait for the outcome. If canceled, cancel the coroutines that the function waits for."""
        try:
            return await self.future
        except asyncio.CancelledError:
            if not (self.future.cancelled() and self.waits):
                raise
            self.future = self._loop.create_future()
            for cancel in list(self.waits):
                cancel()
            # The function mostly lets that through, as an error of another type. The coroutine gets
            # its own, because asyncio.timeout() looks at the type.
            with suppress(asyncio.CancelledError):
                await self.future
            raise
        finally:
            del self  # the exception's traceback holds this frame: avoid a cycle

    def _deliver(self, result: Any, error: BaseException | None) -> None:
        future = self.future
        if future.done():
            return
        if error is None:
            future.set_result(result)
            return
        future.set_exception(error)
        if isinstance(error, (asyncio.CancelledError, TimeoutError)):
            # This mostly comes with the coroutine's own cancellation, or from the deadline that
            # both share. The coroutine knows of that already, and asyncio would log this error.
            future.exception()

    # -- in the waiting thread -----------------------------------------------------------------

    def run(self) -> None:
        """Run the function. Its outcome goes to the coroutine.

        Raises:
            RuntimeError: The function has forked, and this is the child.
            BaseException: The function was interrupted, for example by Ctrl-C, after the coroutine
                was canceled.
        """
        # A canceled function does not start. If it is canceled later, it is not interrupted.
        function, self._function = self._function, None
        self.thread = threading.get_ident()
        if function is None or self.future.cancelled():
            return
        result: Any = None
        error: BaseException | None = None
        try:
            result = function()
        except StopIteration as stop:
            error = RuntimeError("A sync function raised StopIteration.")
            error.__cause__ = stop
        except BaseException as raised:
            error = raised
        try:
            if self.home.inherited:
                # Tested, but the frame is older than the child, and coverage does not see it.
                raise inherited_error(self.home.label)  # pragma: no cover
            if self.future.cancelled() and error is not None and not is_ordinary(error):
                raise error  # the coroutine has had its outcome, so this thread gets this one
            self.home.post(self._deliver, result, error)
        finally:
            del error, function, self  # its traceback holds this frame: avoid a cycle

    @contextmanager
    def waiting(self, cancel: Callable[[], object]) -> Generator[None, None, None]:
        """Note that the function waits for a coroutine during the block.

        Args:
            cancel: Cancels that coroutine; called on the loop.
        """
        self.waits.append(cancel)
        try:
            yield
        finally:
            self.waits.remove(cancel)
