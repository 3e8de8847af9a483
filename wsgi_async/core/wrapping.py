"""Other libraries' futures as a `SyncFuture`."""

from __future__ import annotations

import asyncio
import concurrent.futures
from typing import TYPE_CHECKING, Any, TypeVar

from .driver import driver_of
from .futures import SyncFuture

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["async_to_sync_future"]

T = TypeVar("T")


def async_to_sync_future(
    future: asyncio.Future[T] | concurrent.futures.Future[T],
) -> SyncFuture[T]:
    """Wrap a future so that a thread can wait for it.

    Result, exception (a `BaseException` too) and cancellation arrive; cancelling the wrapper
    cancels the future. Waiting does not drive an `asyncio.Future`'s loop: who runs it, goes on
    running it. May be called from any thread, also in a coroutine.

    Args:
        future: The future; for an `asyncio.Future` its loop must be open, or the future done.

    Raises:
        TypeError: It is neither kind of future.
        RuntimeError: Its loop is closed, and it will never be done.
    """
    sync: SyncFuture[T] = SyncFuture()
    if isinstance(future, concurrent.futures.Future):
        sync._cancel = future.cancel
        future.add_done_callback(lambda source: _copy(source, sync))
    elif asyncio.isfuture(future):
        _follow(future, sync)
    else:
        raise TypeError(
            f"{future!r} is no future. Give an asyncio.Future or a concurrent.futures.Future."
        )
    return sync


def _follow(future: asyncio.Future[T], sync: SyncFuture[T]) -> None:
    loop = future.get_loop()
    if future.done():
        _copy(future, sync)
        return
    sync._cancel = lambda: _call_on(loop, future.cancel)
    driver = driver_of(loop)
    if driver is not None:
        driver.follow(sync)  # a stop() of our manager must not leave its waiter hanging
    # An asyncio future is not thread-safe: what touches it has to run on its loop.
    _call_on(loop, future.add_done_callback, lambda source: _copy(source, sync))


def _call_on(loop: asyncio.AbstractEventLoop, fn: Callable[..., Any], *args: Any) -> None:
    if asyncio._get_running_loop() is loop:
        fn(*args)
        return
    try:
        loop.call_soon_threadsafe(fn, *args)
    except RuntimeError:
        raise RuntimeError(
            "The future's event loop is closed, so it will never be done. "
            "Wrap it while its loop is open."
        ) from None


def _copy(source: asyncio.Future[T] | concurrent.futures.Future[T], sync: SyncFuture[T]) -> None:
    if source.cancelled():
        sync._settle(cancelled=True)
    elif (error := source.exception()) is not None:
        sync._settle(exception=error)
    else:
        sync._settle(source.result())
