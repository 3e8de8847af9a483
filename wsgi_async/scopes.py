"""Request scopes: work that must not outlive the request, and a time limit for all its waits.

    def app(environ, start_response):
        scope = environ["async.scope"]
        scope.timeout(10)                              # for all waits from here on
        prices = scope.submit_task(fetch_prices())     # canceled if it outlasts the request
        page = environ["async.loop"].run(render())
        ...

This module knows nothing about WSGI: the middleware creates a scope for each request and ends it.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

from .core.base.checks import check_timeout
from .core.base.deadlines import Deadline, request_deadline
from .core.base.primitives import Primitives
from .core.managers.manager import lifecycle_of, submit_to_group
from .core.messages.errors import OutsideRequestError
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
    """Tasks and deadlines of one request. Lives from its start until its response is closed.

    The middleware makes it; `scope_from()` finds it. At the end of the request, unfinished tasks
    are canceled and awaited, at most for the manager's grace. The log names a task that takes
    longer. If the body is a list or a tuple, the request ends when the application returns, and the
    response waits for that.

    Args:
        manager: Runs the request's coroutines.
        context: The context that all of the request runs in.
        timeout: The deadline of the request, in seconds (0 or more): all its waits must end by
            then. None means no deadline.
    """

    __slots__ = ("_context", "_deadline", "_group", "_limits", "manager")

    def __init__(
        self, manager: AsyncioLoopManager, context: Context, timeout: float | None = None
    ) -> None:
        self.manager = manager
        # No lock: written once, to None at the end of the request.
        self._context: Context | None = context
        # The loop's mutex guards this field and the contents of the group.
        self._group: JobGroup | None = None
        # Only code in the request's context uses these, and one thread at a time can be in it.
        self._deadline: _RequestDeadline | None = None
        self._limits: list[_Limit] = []  # the first is the outer request's, if any
        if timeout is not None:
            context.run(self._begin, timeout)

    def __repr__(self) -> str:
        return f"<RequestScope {'over' if self._context is None else 'open'} of {self.manager!r}>"

    # -- work ----------------------------------------------------------------------------------

    def submit_task(
        self,
        coro: Coroutine[Any, Any, T],
        return_sync_future: bool = False,  # noqa: ARG002 - as the manager's
        task_type: Hashable = None,
    ) -> SyncFuture[T]:
        """Start a coroutine in the background that ends with the request; return at once.

        Takes the same arguments as the manager's `submit_task()`. If it is not done when the
        response is closed, it is canceled. The request's deadline does not cancel it, but limits
        how long you can wait for it. From any thread.

        Raises:
            UnknownAsyncTaskError: The manager was started for another task type.
            RuntimeError: The request is over, or the manager is not started or is being stopped.
            TypeError: `coro` is not a coroutine.
        """
        runner = lifecycle_of(self.manager).runner
        # A manager without a runner refuses the coroutine below.
        group = None if runner is None else self._join(runner)
        return submit_to_group(self.manager, coro, task_type, group)

    def _join(self, runner: Runner) -> JobGroup:
        with runner.live.mutex:
            if self._group is None:
                self._group = JobGroup(runner, ended=self._context is None)
            return self._group

    # -- time ----------------------------------------------------------------------------------

    def _begin(self, timeout: float | None = None) -> _RequestDeadline:
        """Give the request a deadline. Called in the request's context."""
        outer = request_deadline.get()
        deadline = self._deadline = _RequestDeadline(timeout)
        request_deadline.set(deadline)
        if outer is not None:
            self._limits.append(_Limit(self, outer.left()))
            self._apply(deadline)
        return deadline

    def timeout(self, seconds: float | None) -> AbstractContextManager[None]:
        """Set a deadline for the rest of the request, or for a `with` block.

        It applies from the call on. In `with scope.timeout(5): ...` it ends with the block. If
        several deadlines apply, the nearest one counts: you can shorten a deadline, not extend it.

        It applies to `run()`, to `async def` views, to the items of streams, and to waits for
        submitted tasks. When it has passed, a wait raises `TimeoutError`, and `run()` does not
        start anything. It does not apply to tasks of the manager's `submit_task()`, to the closing
        of the response, or to waits that the library does not know about, such as
        `concurrent.futures.wait()`.

        Args:
            seconds: Seconds from now. None or infinity sets no limit.

        Raises:
            RuntimeError: The request is over, or this is a coroutine or another thread.
            TypeError, ValueError: `seconds` is not a number.
        """
        limit = check_timeout(seconds)
        if not self._is_current():
            raise OutsideRequestError(
                "This request is over, or this is not its own thread and context. Set the "
                "deadline in the application or its response body; in a coroutine use "
                "asyncio.timeout(), and elsewhere give run() or result() a timeout."
            )
        deadline = self._deadline or self._begin()
        made = _Limit(self, limit, inner=deadline.extended_to is not None)
        self._limits.append(made)
        self._apply(deadline)
        return made

    def no_timeout(self) -> None:
        """Remove the time limit that the middleware's `timeout=` sets for this request.

        Use it for a stream that takes longer than other responses. Call it in the view or in the
        stream. A wait that has already started keeps its limit. Deadlines that you set with
        `timeout()` still apply. From any thread, and in a coroutine too.

        Raises:
            RuntimeError: The request is over.
        """
        if self._context is None:
            raise OutsideRequestError(
                "This request is over. Call no_timeout() in the view or in its response body."
            )
        if self._deadline is not None:
            self._deadline.general = None

    def _is_current(self) -> bool:
        """Whether the current context is the request's own, not just a copy of it."""
        context = self._context
        if context is None:
            return False
        # A new object without a limit, and only for this check: a destructor may run meanwhile and
        # wait for something.
        mark = Deadline()
        token = request_deadline.set(mark)
        try:
            return context.get(request_deadline) is mark
        finally:
            request_deadline.reset(token)

    def _apply(self, deadline: _RequestDeadline) -> None:
        deadline.until = self._nearest(inner=False)
        deadline.inner = self._nearest(inner=True)

    def _nearest(self, *, inner: bool) -> float | None:
        limits = (limit.until for limit in self._limits if limit.inner == inner)
        nearest = min(limits, default=math.inf)
        return None if nearest == math.inf else nearest

    def remove(self, limit: _Limit) -> None:
        """End a `with` block's deadline. Does nothing if the response is being closed."""
        if limit in self._limits and self._deadline is not None:
            self._limits.remove(limit)
            self._apply(self._deadline)

    # -- the end -------------------------------------------------------------------------------

    def lift(self) -> None:
        """Remove all deadlines, because the response is being closed. Called by the middleware.

        This also applies to threads that the request started, which keep a copy of its context.
        """
        self._limits.clear()
        if self._deadline is not None:
            self._deadline.until = self._deadline.general = self._deadline.inner = None

    def end(self) -> None:
        """Refuse new tasks, cancel the others, and wait for them. Called by the middleware."""
        # Its variables may hold the environ, and so this scope. A later group refuses tasks.
        self._context = None
        self.lift()
        runner = lifecycle_of(self.manager).runner
        with nullcontext() if runner is None else runner.live.mutex:
            group = self._group
        if group is not None:
            group.end()


class _RequestDeadline(Deadline):
    """The deadline of a request's waits. Lives as long as the request's context.

    Args:
        general: Seconds from now, as the middleware sets them; None for no limit.
    """

    __slots__ = ("general", "inner")

    def __init__(self, general: float | None) -> None:
        # No lock: written by the request's own thread, and by the thread that closes the response.
        super().__init__()  # `until` is the nearest deadline that the request has set
        self.inner: float | None = None  # the nearest that it has set while it had more time
        # No lock: any thread may remove this limit, and no thread brings it back.
        self.general = None if general is None else Primitives.clock() + general

    def left(self) -> float | None:
        """Seconds until the nearest deadline, 0 if it has passed; None without one."""
        until, general, inner = self.until, self.general, self.inner
        if until is None or (general is not None and general < until):
            until = general
        left = self._left(until)
        if inner is None:
            return left
        inner_left = max(0.0, inner - Primitives.clock())
        return inner_left if left is None else min(left, inner_left)


class _Limit:
    """One deadline of a scope. Lives as long as its `with` block, if there is one.

    Args:
        scope: The scope that the deadline belongs to.
        seconds: Seconds from now; None for no limit.
        inner: Whether the request had more time when this was set; see `Deadline.extended()`.
    """

    __slots__ = ("_ended", "_scope", "inner", "until")

    def __init__(self, scope: RequestScope, seconds: float | None, *, inner: bool = False) -> None:
        self._scope = scope
        self.inner = inner
        self._ended = False
        self.until = math.inf if seconds is None else Primitives.clock() + seconds

    def __enter__(self) -> None:
        if self._ended:
            raise RuntimeError(
                "This deadline has ended with its `with` block. Call timeout() again for the next."
            )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended = True
        self._scope.remove(self)
