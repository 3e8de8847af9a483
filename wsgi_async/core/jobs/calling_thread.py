"""`run_in_calling_thread`: sync code of a coroutine, on the thread that waits for it."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager, suppress
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeGuard, TypeVar

from wsgi_async.core.base.checks import inherited_error, refuse_async
from wsgi_async.core.messages.errors import CallerNotFound

from .job import current_caller

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
    `run()`, that coroutine is canceled too. This coroutine ends when the function returns.

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
    context, caller = copy_context(), current_caller.get()
    if caller is None:
        raise CallerNotFound(_NOBODY)
    function = AskedFunction(
        partial(context.run, partial(fn, *args, **kwargs)), asyncio.get_running_loop(), caller
    )
    context.run(current_caller.set, function)  # so what it runs itself finds it
    if not function.ask_around():
        raise CallerNotFound(_NOBODY)
    try:
        return await function.outcome()  # type: ignore[no-any-return]
    finally:
        del context, function  # the exception's traceback holds this frame: no cycle


def ask_caller(
    caller: Asked,
    function: Callable[[], Any],
    loop: asyncio.AbstractEventLoop,
    otherwise: Callable[[], asyncio.Future[Any]],
) -> asyncio.Future[Any] | None:
    """On the loop: have a waiting thread run a function; a future of its outcome.

    Args:
        caller: Who is asked first.
        function: The function.
        loop: The running loop.
        otherwise: Has it run elsewhere, if the thread that was to come for it does not.

    Returns:
        None if nobody waits.
    """
    asked = AskedFunction(function, loop, caller, otherwise)
    return asked.future if asked.ask_around() else None


class AskedFunction:
    """A function that a coroutine has a waiting thread run. Lives until it has the outcome.

    For what the function calls by `run()` it is the caller to ask.

    Args:
        function: The function.
        loop: The loop that asks.
        caller: Who is asked first.
        otherwise: See `ask_caller()`.
    """

    # No lock: written on the loop by whoever lines it up, before the thread sees it.
    home: Home

    def __init__(
        self,
        function: Callable[[], Any],
        loop: asyncio.AbstractEventLoop,
        caller: Asked,
        otherwise: Callable[[], asyncio.Future[Any]] | None = None,
    ) -> None:
        # Never changes:
        self.outer: Asked | None = caller
        self._loop = loop
        self._otherwise = otherwise
        # No lock: written on the loop. The thread that runs the function looks once whether it has
        # been canceled, and may be late.
        self.future: asyncio.Future[Any] = loop.create_future()
        # No lock: taken by the thread that runs it, as its context leads to us: no cycle.
        self._function: Callable[[], Any] | None = function
        # No lock: the thread appends and removes, the loop copies. Each cancels a coroutine that
        # the function waits for.
        self.waits: list[Callable[[], object]] = []
        # No lock: written by the thread that runs it, for itself.
        self.thread: int | None = None

    # -- on the loop ---------------------------------------------------------------------------

    def ask_around(self) -> bool:
        """Line the function up for the first thread that still waits; False if none does.

        The wait of the first caller may be over, where a task asks that its coroutine has left
        behind. Then an outer caller of the same loop is asked.
        """
        caller = self.outer
        while caller is not None:
            if caller.ask(self._loop, self):
                return True
            caller = caller.outer
        self._function = None  # nobody will run it: no cycle
        return False

    def ask(self, loop: asyncio.AbstractEventLoop, function: ServedFunction) -> bool:  # noqa: ARG002
        """See `Asked`: the function's own thread does not wait here, but for an outer caller."""
        return False

    def lose(self) -> None:
        """The thread that was to come for it will not: see who else runs it."""
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
        """Wait for it; if the coroutine is canceled, what the function waits for is too."""
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
            del self  # the exception's traceback holds this frame: no cycle

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

    # -- in the waiting thread -----------------------------------------------------------------

    def run(self) -> None:
        """Run the function. Its outcome goes to the coroutine.

        Raises:
            RuntimeError: The function has forked, and this is the child.
            BaseException: The function was interrupted, for example by Ctrl-C, after the coroutine
                was canceled.
        """
        # A canceled one is not begun. One that is canceled from now on is not interrupted.
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
                raise inherited_error(self.home.label)
            if self.future.cancelled() and _is_interruption(error):
                raise error  # the coroutine has had its outcome, so this thread gets this one
            self.home.post(self._deliver, result, error)
        finally:
            del error, function, self  # its traceback holds this frame: no cycle

    @contextmanager
    def waiting(self, cancel: Callable[[], object]) -> Generator[None, None, None]:
        """The function waits for a coroutine during the block.

        Args:
            cancel: Cancels that; from the loop.
        """
        self.waits.append(cancel)
        try:
            yield
        finally:
            self.waits.remove(cancel)


def _is_interruption(error: BaseException | None) -> TypeGuard[BaseException]:
    """Whether it is meant for the thread, as KeyboardInterrupt and SystemExit are."""
    return error is not None and not isinstance(error, (Exception, asyncio.CancelledError))
