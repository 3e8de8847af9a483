"""What SDKs do in their sync functions: the parts of pydantic-ai, openai-agents and llama-index."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor
from threading import get_ident
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator
    from contextlib import AbstractAsyncContextManager

# -- pydantic-ai -----------------------------------------------------------------------------------


def pydantic_ai_loop() -> asyncio.AbstractEventLoop:
    """Find the current loop, or make one that stays open."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            loop = asyncio.get_event_loop()
    except RuntimeError:
        loop = None
    if loop is not None:
        theirs = getattr(loop.run_until_complete, "__func__", None)
        assert theirs is not asyncio.AbstractEventLoop.run_until_complete
    if loop is None or loop.is_closed():
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
    return loop


def pydantic_ai_run_sync(coro: Coroutine[Any, Any, Any]) -> Any:
    """`agent.run_sync()`: a task of the current loop, ended in order if the wait is interrupted."""
    loop = pydantic_ai_loop()
    task = asyncio.ensure_future(coro, loop=loop)
    try:
        return loop.run_until_complete(task)
    except BaseException:
        if not task.done():
            task.cancel()
            with contextlib.suppress(BaseException):
                loop.run_until_complete(task)
        raise


class PydanticAIStream:
    """`agent.run_stream_sync()`: a task keeps a context manager open while sync code uses it."""

    def __init__(self, cm: AbstractAsyncContextManager[Any]) -> None:
        self._loop = pydantic_ai_loop()
        entered = self._loop.create_future()
        self._exit = self._loop.create_future()
        self._owner = self._loop.create_task(self._hold(cm, entered, self._exit))
        self.stream = self._loop.run_until_complete(entered)
        self._finalizer = weakref.finalize(
            self, _finalize, self._loop, self._owner, self._exit, get_ident()
        )

    @staticmethod
    async def _hold(
        cm: AbstractAsyncContextManager[Any],
        entered: asyncio.Future[Any],
        leave: asyncio.Future[None],
    ) -> None:
        async with cm as stream:
            entered.set_result(stream)
            await leave

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._finalizer.detach() is not None:
            _shut_down(self._loop, self._owner, self._exit)

    def __iter__(self) -> Iterator[Any]:
        while True:
            task = asyncio.ensure_future(anext(self.stream), loop=self._loop)
            try:
                yield self._loop.run_until_complete(task)
            except StopAsyncIteration:
                return


def _shut_down(loop: Any, owner: asyncio.Task[None], leave: asyncio.Future[None]) -> None:
    if not leave.done():
        leave.set_result(None)

    async def wait() -> None:
        if not owner.done():
            await asyncio.wait((owner,))

    waiter = loop.create_task(wait())
    while not waiter.done():
        try:
            loop.run_until_complete(waiter)
        except RuntimeError:
            if loop.is_closed() or loop.is_running() or waiter.done():
                raise
    owner.result()


def _finalize(
    loop: Any, owner: asyncio.Task[None], leave: asyncio.Future[None], thread: int
) -> None:
    if loop.is_closed() or owner.done():
        return

    async def request_exit() -> None:
        if not leave.done():
            leave.set_result(None)
        await owner

    if get_ident() == thread and not loop.is_running():
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            _shut_down(loop, owner, leave)
            return
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(lambda: loop.create_task(request_exit()))


# -- openai-agents ---------------------------------------------------------------------------------


def openai_agents_run_sync(coro: Coroutine[Any, Any, Any]) -> Any:
    """`Runner.run_sync()`: a task of the thread's loop, and all of its generators are flushed."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        coro.close()
        raise RuntimeError("run_sync() cannot be called when an event loop is already running.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            loop = asyncio.get_event_loop()
        except RuntimeError:
            loop = asyncio.new_event_loop()
            asyncio.set_event_loop(loop)
    if loop.is_closed():
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
    task = loop.create_task(coro)
    try:
        return loop.run_until_complete(task)
    except BaseException:
        if not task.done():
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                loop.run_until_complete(task)
        raise
    finally:
        if not loop.is_closed():
            with contextlib.suppress(RuntimeError):
                loop.run_until_complete(loop.shutdown_asyncgens())


# -- llama-index -----------------------------------------------------------------------------------


def llama_index_asyncio_run(coro: Coroutine[Any, Any, Any]) -> Any:
    """`asyncio_run()`: on the current loop, or on one of its own where that runs."""
    try:
        loop = asyncio.get_event_loop()
        if not loop.is_running():
            return loop.run_until_complete(coro)
        context = contextvars.copy_context()

        def run_in_thread() -> Any:
            new_loop = asyncio.new_event_loop()
            asyncio.set_event_loop(new_loop)
            try:
                return context.run(new_loop.run_until_complete, coro)
            finally:
                new_loop.close()

        with ThreadPoolExecutor(1) as executor:
            return executor.submit(run_in_thread).result()
    except RuntimeError:
        try:
            return asyncio.run(coro)
        except RuntimeError:
            raise RuntimeError("Detected nested async.") from None
