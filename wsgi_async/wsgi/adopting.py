"""The current event loop of a request's sync code, for SDKs that look for one.

SDKs bring sync functions, such as `agent.run_sync()`, that do
`asyncio.get_event_loop().run_until_complete(...)`. Where a thread has no current loop they make one
that nobody closes.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from wsgi_async.core.base.checks import refuse_in_event_loop, running_loop
from wsgi_async.core.base.coroutines import close_unstarted, name_after
from wsgi_async.core.base.deadlines import request_deadline
from wsgi_async.core.jobs.job import current_caller
from wsgi_async.core.managers.manager import lifecycle_of
from wsgi_async.core.messages.errors import Closing
from wsgi_async.core.runners.run import run

from .adopted import Adopted, AdoptedFuture, AdoptedTask, WaitingThread, wait_elsewhere

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from contextvars import Context

    from wsgi_async.core import AsyncioLoopManager

__all__ = ["AdoptingContext"]

P = ParamSpec("P")
T = TypeVar("T")


class AdoptingContext:
    """A request's context, whose sync code finds the manager's loop as the current one.

    Lives as long as the request; only for its thread.

    Args:
        context: The context that all of the request runs in.
        manager: The request's.
    """

    def __init__(self, context: Context, manager: AsyncioLoopManager) -> None:
        self._context = context
        self._waiting = WaitingThread()
        self._facade = _Facade(manager, self._waiting)  # type: ignore[abstract] # the rest is the real loop's

    def run(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """As `Context.run()`."""
        outer, _here.facade = _here.facade, self._facade
        asyncio.set_event_loop(self._facade)
        self._waiting.enter()
        try:
            return self._context.run(fn, *args, **kwargs)
        finally:
            self._waiting.leave(self._facade.post)
            _here.facade = outer
            asyncio.set_event_loop(outer)


class _Facade(asyncio.AbstractEventLoop):
    """A manager's loop as sync code sees it: at rest, and ready to run something.

    Lives as long as somebody holds it: an SDK may keep it for its own cleanup. What a loop has
    beside this is the real loop's. Mostly for the request's thread; what an SDK posts to the loop
    may use it there too.

    Args:
        manager: The manager, started.
        waiting: The request's thread.
    """

    def __init__(self, manager: AsyncioLoopManager, waiting: WaitingThread) -> None:
        self._manager = manager
        self._raw = manager.get_event_loop()
        self._waiting = waiting

    def __getattribute__(self, name: str) -> Any:
        # Not __getattr__: the base class has all of a loop's methods, which only raise.
        if name in _OWN or name.startswith("__"):
            return object.__getattribute__(self, name)
        return getattr(object.__getattribute__(self, "_raw"), name)

    @property
    def is_seen_here(self) -> bool:
        """Whether the current code is sync code of the request, which takes this for the loop."""
        return self._waiting.is_current and running_loop() is None and self._manager.running

    def defer(self, call: Callable[[], object]) -> None:
        """Have something called on the loop when sync code waits for it the next time."""
        self._waiting.defer(call)

    def post(self, call: Callable[[], object]) -> None:
        """Have something called on the loop, soon; nothing if that is closed."""
        with suppress(RuntimeError):
            self._raw.call_soon_threadsafe(call)

    def is_running(self) -> bool:
        """False in sync code: what its thread runs is not on the loop."""
        return running_loop() is self._raw

    def run_until_complete(self, future: Any) -> Any:
        """As the manager's `run()`."""
        try:
            return self._manager.run(self._wait_for(future), task_type=self._manager.task_type)
        finally:
            close_unstarted(future)  # it was refused

    def _wait_for(self, future: Any) -> Coroutine[Any, Any, Any]:
        get_coro = getattr(future, "get_coro", None)  # of a task
        named = future if get_coro is None else get_coro()
        if asyncio.isfuture(future) and not issubclass(type(future), Adopted):
            future = wait_elsewhere(future, self)
        return name_after(named, self._waiting.wait_for(future))

    def create_task(self, coro: Any, **options: Any) -> Any:
        """Make a task on the loop, from any thread. It begins at once."""
        if "context" not in options:
            options["context"] = copy_context()
            options["context"].run(current_caller.set, self._waiting)
        if running_loop() is self._raw:
            return self._raw.create_task(coro, **options)

        async def make() -> asyncio.Task[Any]:
            task = AdoptedTask(coro, loop=self._raw, **options)
            task.facade = self
            return task

        # An SDK's cleanup may come after the request's deadline.
        context = copy_context()
        context.run(request_deadline.set, None)
        try:
            return context.run(self._run, make())
        except BaseException:
            close_unstarted(coro)
            raise

    def _run(self, coro: Coroutine[Any, Any, T]) -> T:
        """As the manager's `run()`, which would say in debug mode that the task is left behind."""
        life = lifecycle_of(self._manager)
        try:
            refuse_in_event_loop("use asyncio.create_task()")
            if life.runner is None:
                raise life.refusal()
            return run(life.runner, coro, copy_back=False)
        except Closing:
            raise life.refusal() from None
        finally:
            close_unstarted(coro)

    def create_future(self) -> Any:
        """Make a future of the loop that any thread can fill."""
        future = AdoptedFuture(loop=self._raw)
        future.facade = self
        return future

    def call_soon(  # type: ignore[override] # typed there by a TypeVarTuple
        self, callback: Any, *args: Any, context: Context | None = None
    ) -> Any:
        """As the loop's `call_soon_threadsafe()`."""
        return self._raw.call_soon_threadsafe(callback, *args, context=context)

    async def shutdown_asyncgens(self) -> None:
        """Nothing: the generators may be another request's."""

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Nothing: others use it."""

    def close(self) -> None:
        """Nothing: the loop stays, for the next request."""


class _Here(threading.local):
    """What the current thread's code finds. asyncio has no way to ask that does not make a loop."""

    facade: _Facade | None = None


_here = _Here()
_OWN = frozenset(vars(_Facade)) | {"_manager", "_raw", "_waiting"}
