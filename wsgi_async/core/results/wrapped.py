"""Other libraries' futures as a `SyncFuture`."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import os
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from wsgi_async.core.base.checks import running_loop
from wsgi_async.core.messages.advice import kind_of
from wsgi_async.core.messages.errors import ManagerStateError
from wsgi_async.core.messages.foreign_loops import explain
from wsgi_async.core.runners.runner import runner_of

from .sync_future import SyncFuture

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["WrappedFuture", "async_to_sync_future"]

T = TypeVar("T")


def async_to_sync_future(
    future: asyncio.Future[T] | concurrent.futures.Future[T],
) -> SyncFuture[T]:
    """Wrap a future so that a thread can wait for it.

    Result, exception (a `BaseException` too) and cancellation arrive; canceling the wrapper
    cancels the future. May be called from any thread, also in a coroutine.

    Args:
        future: The future; for an `asyncio.Future` its loop must be open, or the future done.

    Raises:
        TypeError: It is neither kind of future.
        RuntimeError: Its loop is closed, and it will never be done.
    """
    if isinstance(future, concurrent.futures.Future):
        wrapped = WrappedFuture[T](future.cancel)
        future.add_done_callback(wrapped.copy)
        return wrapped
    if not asyncio.isfuture(future):
        raise TypeError(
            f"{kind_of(future)} is not a future. Give an asyncio.Future or a "
            "concurrent.futures.Future."
        )
    loop = future.get_loop()
    wrapped = WrappedFuture[T](partial(_call_on, loop, future.cancel))
    if future.done():
        wrapped.copy(future)
        return wrapped
    runner = runner_of(loop)
    if runner is not None:
        runner.live.follow(wrapped)  # a stop() of our manager must not leave its waiter hanging
    # An asyncio future is not thread-safe: code that touches it has to run on its loop.
    _call_on(loop, future.add_done_callback, wrapped.copy_late)
    return wrapped


class WrappedFuture(SyncFuture[T]):
    """A `SyncFuture` that follows another library's future. Lives as long as either future."""

    def __init__(self, cancel_source: Callable[[], object]) -> None:
        super().__init__()
        self._cancel_source = cancel_source
        self._pid = os.getpid()

    def _check(self) -> None:
        if os.getpid() != self._pid:
            raise ManagerStateError(
                "This future follows one of the parent process, and will never be done after a "
                "fork. Start its work in this process."
            )
        super()._check()

    def cancel(self) -> bool:
        """Cancel the future that it follows; `False` if that is done already."""
        if self.done():
            return self.cancelled()
        return self._cancel_source() is not False

    def copy(self, source: asyncio.Future[T] | concurrent.futures.Future[T]) -> None:
        """Take over the outcome of a future that is done."""
        if source.cancelled():
            if super().cancel():  # there is no job to cancel
                self.set_running_or_notify_cancel()
            return
        # Read before the source is asked for its exception. From then on this future logs it.
        noted = source._unretrieved if isinstance(source, SyncFuture) else None  # noqa: SLF001
        error = source.exception()
        if error is None:
            self._fill(None, source.result())
            return
        explain(error)
        self._name = getattr(source, "get_name", partial(repr, source))()
        foreign = not isinstance(source, SyncFuture)
        self._unretrieved = (error, contextvars.copy_context()) if foreign else noted
        self._fill(error)

    def copy_late(self, source: asyncio.Future[T]) -> None:
        """As `copy()`, for a future that was still pending when it was wrapped.

        If a `stop()` of our manager has canceled it, its waiters get the error of the stop.
        """
        runner = runner_of(source.get_loop())
        if source.cancelled() and runner is not None and runner.live.closing:
            self.fail(runner.live.stopped_error(asyncio.CancelledError()))
        else:
            self.copy(source)

    def fail(self, error: RuntimeError) -> None:
        """Fail, because the loop has ended before the source was done."""
        self._fill(error)

    def _fill(self, error: BaseException | None, result: Any = None) -> None:
        try:
            if error is not None:
                self.set_exception(error)
            else:
                self.set_result(result)
        except concurrent.futures.InvalidStateError:
            self._unretrieved = None  # the other one was first: the end of the loop, or the source


def _call_on(loop: asyncio.AbstractEventLoop, fn: Callable[..., Any], *args: Any) -> Any:
    if running_loop() is loop:
        return fn(*args)
    try:
        loop.call_soon_threadsafe(fn, *args)
    except RuntimeError:
        raise ManagerStateError(
            "The future's event loop is closed, so it will never be done. "
            "Wrap it while its loop is open."
        ) from None
