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
from typing import TYPE_CHECKING, Any, TypeVar

from .core.base.checks import check_timeout
from .core.base.deadlines import Deadline, request_deadline
from .core.managers.manager import lifecycle_of, submit_to_group
from .core.results.groups import JobGroup

if TYPE_CHECKING:
    from collections.abc import Coroutine, Hashable
    from contextlib import AbstractContextManager
    from contextvars import Context
    from types import TracebackType

    from .core import AsyncioLoopManager, SyncFuture
    from .core.runners.runner import Runner

__all__ = ["RequestScope"]

T = TypeVar("T")


class RequestScope:
    """What belongs to one request. Lives from its beginning until its response has been closed.

    Made by the middleware, found in `environ["async.scope"]`. At the end of the request its
    unfinished tasks are canceled and waited for, at most for the manager's grace; a task that
    resists is logged by name. With a list or a tuple as its body the request ends when the
    application returns, so the response waits for that. Until it is used, a scope does nothing.

    Args:
        manager: Runs the request's coroutines.
        context: The context that all of the request runs in.
        timeout: Seconds that all waits of the request have; None without a limit.
    """

    __slots__ = ("_context", "_deadline", "_group", "_limits", "_over", "manager")

    def __init__(
        self, manager: AsyncioLoopManager, context: Context, timeout: float | None = None
    ) -> None:
        self.manager = manager
        self._context: Context | None = context
        self._over = False
        # The loop's mutex guards it, as it guards what is in it.
        self._group: JobGroup | None = None
        # Used in the request's context only, which one thread at a time can be in.
        self._deadline: Deadline | None = None
        self._limits: list[_Limit] = []  # the first is that of a request around this one
        if timeout is not None:
            context.run(self.timeout, timeout)

    def __repr__(self) -> str:
        return f"<RequestScope {'over' if self._over else 'open'} of {self.manager!r}>"

    # -- work ----------------------------------------------------------------------------------

    def submit_task(
        self,
        coro: Coroutine[Any, Any, T],
        return_sync_future: bool = False,  # noqa: ARG002 - as the manager's
        task_type: Hashable = None,
    ) -> SyncFuture[T]:
        """Start a coroutine in the background that ends with the request; return at once.

        As the manager's `submit_task()`, whose arguments these are. If it is not done when the
        response is closed, it is canceled. The request's deadline does not cancel it, but limits
        how long you can wait for it. From any thread.

        Raises:
            UnknownAsyncTaskError: The manager was started for another task type.
            RuntimeError: The request is over, or the manager is not started or is being stopped.
            TypeError: `coro` is not a coroutine.
        """
        runner = lifecycle_of(self.manager).runner
        # Without a runner the manager refuses.
        group = None if runner is None else self._join(runner)
        return submit_to_group(self.manager, coro, task_type, group)

    def _join(self, runner: Runner) -> JobGroup:
        with runner.live.mutex:
            if self._group is None:
                self._group = JobGroup(runner, ended=self._over)
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
        outer = request_deadline.get()
        if self._deadline is None:
            self._limits.append(_Limit(self, None if outer is None else outer.until))
            self._deadline = Deadline()
            request_deadline.set(self._deadline)
        made = _Limit(self, Deadline(limit).until)
        self._limits.append(made)
        self._apply(self._deadline)
        return made

    def _is_current(self) -> bool:
        """Whether the current context is the request's own, not just a copy of it."""
        context = self._context
        if context is None:
            return False
        # A new object, for the moment; and without a limit, for a destructor that comes by and
        # waits for something.
        mark = Deadline()
        token = request_deadline.set(mark)
        try:
            return context.get(request_deadline) is mark
        finally:
            request_deadline.reset(token)

    def _apply(self, deadline: Deadline) -> None:
        nearest = min((limit.until for limit in self._limits), default=math.inf)
        deadline.until = None if nearest == math.inf else nearest

    def remove(self, limit: _Limit) -> None:
        """End a `with` block's deadline. For that; nothing if the response is being closed."""
        if limit in self._limits and self._deadline is not None:
            self._limits.remove(limit)
            self._apply(self._deadline)

    # -- the end -------------------------------------------------------------------------------

    def lift(self) -> None:
        """Take all deadlines away: the response is being closed. For the middleware.

        Also for a thread that was begun in the request, and lives on with a copy of its context.
        """
        self._limits.clear()
        if self._deadline is not None:
            self._deadline.until = None

    def end(self) -> None:
        """Refuse new tasks, cancel the others, and wait for them. For the middleware."""
        self._over = True  # a group that is made later refuses
        runner = lifecycle_of(self.manager).runner
        if runner is not None:
            with runner.live.mutex:
                group = self._group
        else:
            group = self._group
        self._context = None  # whose variables may hold the environ, and so us
        self.lift()
        if group is not None:
            group.end()


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
