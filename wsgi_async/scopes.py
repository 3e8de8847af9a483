"""Request scopes: work that must not outlive the request, and a time limit for all its waits.

    def app(environ, start_response):
        scope = environ["async.scope"]
        scope.timeout(10)                              # from here on nothing waits for longer
        prices = scope.submit_task(fetch_prices())     # cancelled if nobody has waited for it
        page = environ["async.loop"].run(render())
        ...

Knows nothing of WSGI: the middleware makes a scope for each request and ends it.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from .core.checks import check_timeout
from .core.deadlines import deadline
from .core.groups import JobGroup

if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import Coroutine, Hashable
    from contextlib import AbstractContextManager
    from contextvars import Context
    from types import TracebackType

    from .core import AsyncioLoopManager, SyncFuture
    from .core.driver import Driver

__all__ = ["RequestScope"]

T = TypeVar("T")


class RequestScope:
    """What belongs to one request. Lives from its beginning until its response has been closed.

    Made by the middleware, found in `environ["async.scope"]`. At the end of the request its
    unfinished tasks are cancelled and waited for, as long as the manager's grace; who resists is
    logged by name. With a list or a tuple as its body the request ends when the application
    returns, so the response waits for that. Until it is used, a scope does nothing.

    Args:
        manager: Runs the request's coroutines.
        context: The context that all of the request runs in.
    """

    __slots__ = ("_context", "_group", "_limits", "_over", "manager")

    def __init__(self, manager: AsyncioLoopManager, context: Context) -> None:
        self.manager = manager
        manager.at_rest = False
        self._context: Context | None = context
        self._over = False
        # Guarded by the baton's mutex, as the group itself.
        self._group: JobGroup | None = None
        # Used in the request's context only, which one thread at a time can be in.
        self._limits: list[_Limit] = []  # the first is that of a request around this one

    def __repr__(self) -> str:
        return f"<RequestScope {'over' if self._over else 'open'} of {self.manager!r}>"

    # -- work ----------------------------------------------------------------------------------

    @overload
    def submit_task(
        self,
        coro: Coroutine[Any, Any, T],
        return_sync_future: Literal[False] = False,
        task_type: Hashable = None,
    ) -> concurrent.futures.Future[T]: ...

    @overload
    def submit_task(
        self,
        coro: Coroutine[Any, Any, T],
        return_sync_future: Literal[True],
        task_type: Hashable = None,
    ) -> SyncFuture[T]: ...

    @overload
    def submit_task(
        self, coro: Coroutine[Any, Any, T], return_sync_future: bool, task_type: Hashable = None
    ) -> concurrent.futures.Future[T] | SyncFuture[T]: ...

    def submit_task(
        self,
        coro: Coroutine[Any, Any, T],
        return_sync_future: bool = False,
        task_type: Hashable = None,
    ) -> concurrent.futures.Future[T] | SyncFuture[T]:
        """Start a coroutine in the background that ends with the request; return at once.

        As the manager's `submit_task()`, whose arguments and futures these are. If it is not done
        when the response is closed, it is cancelled; one that nobody has started is dropped. The
        request's deadline does not cancel it, only waits for it. From any thread.

        Raises:
            UnknownAsyncTaskError: The label is another.
            RuntimeError: The request is over, or the manager is not started or is being stopped.
            TypeError: `coro` is no coroutine.
        """
        driver = self.manager.life.driver
        # Without a driver the manager refuses.
        group = None if driver is None else self._join(driver)
        return self.manager.submit_job(coro, return_sync_future, task_type, group)

    def _join(self, driver: Driver) -> JobGroup:
        with driver.baton.mutex:
            if self._group is None:
                self._group = JobGroup(driver, ended=self._over)
            return self._group

    # -- time ----------------------------------------------------------------------------------

    def timeout(self, seconds: float | None) -> AbstractContextManager[None]:
        """Set a deadline for the request's waits: at once, and for the rest of the request.

        Or for a block: `with scope.timeout(5): ...` takes it away again. Of several that hold at
        a time the nearest counts, so a deadline can be tightened but not put off. It bounds
        `run()` and the futures of managers, in the application, its body, and the threads that a
        coroutine of theirs hands work to. What waits then raises `TimeoutError`, and `run()` does
        not begin any more. It does not bound the closing of the response, nor what was submitted
        to the manager, nor waits that are not ours, as in `concurrent.futures.wait()`.

        Args:
            seconds: From now. None or infinity sets no limit.

        Raises:
            RuntimeError: Called after the request, in one of its coroutines, or in another
                thread than the request's.
            TypeError, ValueError: `seconds` is no number.
        """
        limit = check_timeout(seconds)
        if self._over or not self._is_current():
            raise RuntimeError(
                "This request is over, or this is not its own thread and context. Set the "
                "deadline in the application or its response body; in a coroutine use "
                "asyncio.timeout(), and elsewhere give run() or result() a timeout."
            )
        if not self._limits:
            self._limits.append(_Limit(self, deadline.get()))
        made = _Limit(self, None if limit is None else time.monotonic() + limit)
        self._limits.append(made)
        self._apply()
        return made

    def _is_current(self) -> bool:
        """Whether the current context is the request's own, not just a copy of it."""
        context = self._context
        if context is None:
            return False
        # A new object; and far away, for a destructor that comes by and waits for something.
        mark = time.monotonic() + 1e6
        token = deadline.set(mark)
        try:
            return context.get(deadline) is mark
        finally:
            deadline.reset(token)

    def _apply(self) -> None:
        nearest = min(limit.until for limit in self._limits)
        deadline.set(None if nearest == math.inf else nearest)

    def remove(self, limit: _Limit) -> None:
        """End a `with` block's deadline. For that; nothing if the response is being closed."""
        if limit in self._limits:
            self._limits.remove(limit)
            # Elsewhere if the garbage collector ends a body that nobody closes.
            if self._is_current():
                self._apply()

    # -- the end -------------------------------------------------------------------------------

    def lift(self) -> None:
        """Take all deadlines away: the response is being closed. For the middleware."""
        context = self._context
        self._limits.clear()
        if context is not None and context.get(deadline) is not None:
            context.run(deadline.set, None)

    def end(self) -> None:
        """Refuse new tasks, cancel the others, and wait for them. For the middleware."""
        driver = self.manager.life.driver
        if driver is not None:
            with driver.baton.mutex:
                self._over = True  # a group that is made later refuses
        self._over = True
        self._context = None  # whose variables may hold the environ, and so us
        self._limits.clear()  # which hold us
        try:
            if self._group is not None:
                self._group.end()
        finally:
            self.manager.at_rest = True


class _Limit:
    """One deadline of a scope. Lives as long as its `with` block, if there is one."""

    __slots__ = ("_ended", "_scope", "until")

    def __init__(self, scope: RequestScope, until: float | None) -> None:
        self._scope = scope
        self._ended = False
        self.until = math.inf if until is None else until

    def __enter__(self) -> None:
        if self._ended:
            raise RuntimeError(
                "This deadline has ended with its `with` block. Call timeout() anew each time."
            )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended = True
        self._scope.remove(self)
