"""The current event loop of a request's sync code, for SDKs that look for one.

SDKs bring sync functions, such as `agent.run_sync()`, that do
`asyncio.get_event_loop().run_until_complete(...)`. Where a thread has no current loop they make one
that nobody closes.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from wsgi_async.core.base.coroutines import name_after

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
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
        self._facade = _Facade(manager)  # type: ignore[abstract] # the rest is the real loop's

    def run(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """As `Context.run()`."""
        outer, _here.facade = _here.facade, self._facade
        asyncio.set_event_loop(self._facade)
        try:
            return self._context.run(fn, *args, **kwargs)
        finally:
            _here.facade = outer
            asyncio.set_event_loop(outer)


class _Facade(asyncio.AbstractEventLoop):
    """A manager's loop as sync code sees it: at rest, and ready to run something.

    Lives as long as the request. What a loop has beside this is the real loop's.

    Args:
        manager: The manager.
    """

    def __init__(self, manager: AsyncioLoopManager) -> None:
        self._manager = manager

    def __getattribute__(self, name: str) -> Any:
        # Not __getattr__: the base class has all of a loop's methods, which only raise.
        if name in _OWN or name.startswith("__"):
            return object.__getattribute__(self, name)
        manager: AsyncioLoopManager = object.__getattribute__(self, "_manager")
        return getattr(manager.get_event_loop(), name)

    def is_running(self) -> bool:
        """False: what this thread runs is not on the loop."""
        return False

    def run_until_complete(self, future: Any) -> Any:
        """As the manager's `run()`."""
        coro = future if asyncio.iscoroutine(future) else name_after(future, _wait(future))
        return self._manager.run(coro, task_type=self._manager.task_type)

    def create_task(self, coro: Any, **options: Any) -> Any:
        """Make a task on the loop, from this thread."""

        async def make() -> asyncio.Task[Any]:
            return asyncio.get_running_loop().create_task(coro, **options)

        return self.run_until_complete(make())

    def close(self) -> None:
        """Nothing: the loop stays, for the next request."""


class _Here(threading.local):
    """What the current thread's code finds. There is no public way to ask for that."""

    facade: _Facade | None = None


_here = _Here()
_OWN = ("_manager", "close", "create_task", "is_running", "run_until_complete")


async def _wait(future: Awaitable[T]) -> T:
    return await future
