"""The current event loop of a request's sync code, for SDKs that look for one.

Some SDKs have sync functions, such as `agent.run_sync()`, that call
`asyncio.get_event_loop().run_until_complete(...)`. In a thread without a current loop they create
one that nobody closes. Here they find a facade that looks like a loop at rest. The manager's loop
mostly runs on another thread, and asyncio's futures and tasks may only be touched on that thread.
So the facade has its own kinds of futures and tasks.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import ExitStack, suppress
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from wsgi_async.core import async_to_sync_future
from wsgi_async.core.base.checks import refuse_in_event_loop, running_loop
from wsgi_async.core.base.coroutines import close_unstarted, name_after
from wsgi_async.core.base.deadlines import request_deadline
from wsgi_async.core.base.primitives import new_mutex
from wsgi_async.core.jobs.job import current_caller
from wsgi_async.core.runners.runner import runner_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextvars import Context

    from wsgi_async.core import AsyncioLoopManager
    from wsgi_async.core.jobs.job import Asked, ServedFunction

__all__ = ["AdoptingContext"]

P = ParamSpec("P")
T = TypeVar("T")


class AdoptingContext:
    """A request's context in which sync code finds the manager's loop as the current one.

    Lives as long as the request. Only the request's thread uses it.
    """

    def __init__(self, context: Context, manager: AsyncioLoopManager) -> None:
        self._context = context
        self._thread = _RequestThread()
        self._facade: Any = _Facade(manager, self._thread)

    def run(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """As `Context.run()`."""
        outer, _here.facade = _here.facade, self._facade
        asyncio.set_event_loop(self._facade)
        self._thread.enter()
        try:
            return self._context.run(fn, *args, **kwargs)
        finally:
            _here.facade = outer
            self._facade.post_deferred()
            try:
                self._thread.leave()
            finally:
                asyncio.set_event_loop(outer)


class _Here(threading.local):
    """The facade of the current thread. asyncio cannot tell the current loop without making one."""

    facade: Any = None


_here = _Here()


class _Facade:
    """A manager's loop as sync code sees it: at rest, and ready to run something.

    Lives as long as any code holds it: an SDK may keep it for its own cleanup. Attributes that the
    facade lacks come from the real loop. Mostly the request's thread uses it; code that an SDK
    posts to the loop may also use it there.
    """

    if not TYPE_CHECKING:  # pragma: no branch - only type checkers skip this
        __class__ = property(lambda _: asyncio.AbstractEventLoop)  # for isinstance(), in asyncio

    def __init__(self, manager: AsyncioLoopManager, thread: _RequestThread) -> None:
        # Never changes:
        self.raw = manager.get_event_loop()
        self._manager = manager
        self._thread = thread
        # One thread, the request's:
        self.deferred: list[Callable[[], object]] = []  # until the thread waits, or leaves

    def __getattr__(self, name: str) -> Any:
        return getattr(self.raw, name)

    @property
    def is_seen_here(self) -> bool:
        """Whether the running code is sync code of the request, which sees the facade."""
        return _here.facade is self and running_loop() is None and self._manager.running

    def post_deferred(self) -> None:
        """Post the deferred calls to the loop; does nothing if the loop is closed."""
        while self.deferred:
            with suppress(RuntimeError):
                self.raw.call_soon_threadsafe(self.deferred.pop(0))

    def is_running(self) -> bool:
        """False in sync code, because sync code does not run on the loop."""
        return running_loop() is self.raw

    def run_until_complete(self, future: Any) -> Any:
        """As the manager's `run()`."""
        # The facade of the present request: an SDK may have kept this one from an earlier request.
        here = _here.facade
        if here is not None and here.is_seen_here:
            here.post_deferred()
        get_coro = getattr(future, "get_coro", None)  # `future` may be a task
        named = future if get_coro is None else get_coro()
        coro = name_after(named, self._thread_here().wait_for(self._awaitable(future)))
        try:
            return self._manager.run(coro, task_type=self._manager.task_type)
        finally:
            close_unstarted(future)  # if the manager refused it

    def _thread_here(self) -> _RequestThread:
        """The present request's; an SDK may have kept this facade from an earlier request."""
        here = _here.facade or self
        return here._thread  # noqa: SLF001

    def _awaitable(self, future: Any) -> Any:
        """Adapt a future for the loop: a future of gather() may have the facade as its loop."""
        if not asyncio.isfuture(future) or isinstance(future, _Adopted):
            return future
        loop: Any = future.get_loop()
        # Also that of an earlier request, which an SDK has kept.
        of_facade = type(loop) is _Facade and loop.raw is self.raw
        return async_to_sync_future(future) if of_facade else future

    def create_task(self, coro: Any, **options: Any) -> Any:
        """Make a task on the loop, from any thread. It begins at once."""
        if "context" not in options:
            options["context"] = copy_context()
            options["context"].run(current_caller.set, self._thread_here())
        if running_loop() is self.raw:
            return self.raw.create_task(coro, **options)

        try:
            make = partial(_AdoptedTask, self, coro, **options)
            return self._made_there(make, "use asyncio.create_task()")
        except BaseException:
            close_unstarted(coro)
            raise

    def _made_there(self, make: Callable[[], T], instead: str) -> T:
        """Call a function on the loop and return its result. For sync code."""
        refuse_in_event_loop(instead)

        async def made() -> T:
            return make()

        # An SDK's cleanup may come after the request's deadline.
        context = copy_context()
        context.run(request_deadline.set, None)
        # Not run(), which would log in debug mode that a task is left behind.
        future = self._manager.submit_task(made(), task_type=self._manager.task_type)
        return context.run(future.result)

    def create_future(self) -> Any:
        """Make a future of the loop that any thread can fill."""
        return _AdoptedFuture(self)

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> Any:
        """As the loop's `call_soon_threadsafe()`."""
        return self.raw.call_soon_threadsafe(callback, *args, context=context)

    def call_later(self, delay: float, callback: Any, *args: Any, **context: Any) -> Any:
        """As the loop's `call_later()`, from any thread."""
        return self.call_at(self.raw.time() + delay, callback, *args, **context)

    def call_at(self, when: float, callback: Any, *args: Any, **context: Any) -> Any:
        """As the loop's `call_at()`, from any thread."""
        if running_loop() is self.raw:
            return self.raw.call_at(when, callback, *args, **context)
        context.setdefault("context", copy_context())
        make = partial(self.raw.call_at, when, callback, *args, **context)
        return self._made_there(make, "use the running loop's call_later()")

    async def shutdown_asyncgens(self) -> None:
        """Do nothing: the generators may belong to another request."""

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Do nothing: other code uses the executor."""

    def close(self) -> None:
        """Do nothing: the loop stays open for the next request."""


class _Adopted(asyncio.Future[Any]):
    """The common part of futures and tasks. Lives as long as code holds it, or until it is done.

    Any thread can fill or cancel it; it is done a moment later.
    """

    def __init__(self, facade: _Facade, *args: Any, **options: Any) -> None:
        self._facade = facade  # Never changes.
        super().__init__(*args, loop=facade.raw, **options)

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The future's loop; the request's sync code sees the facade, which it asked for."""
        seen: Any = self._facade if self._facade.is_seen_here else self._facade.raw
        return seen  # type: ignore[no-any-return]

    def add_done_callback(self, fn: Callable[[Any], object], /, *, context: Any = None) -> None:
        """As the base class.

        From sync code, the callback is added at the next wait, as with asyncio: `gather()` is not
        ready for a task that ends while `gather()` still adds its callbacks.
        """
        context = copy_context() if context is None else context
        add = partial(super().add_done_callback, fn, context=context)
        if running_loop() is self._facade.raw:
            add()
        elif self._facade.is_seen_here:
            self._facade.deferred.append(add)
        else:
            self._facade.raw.call_soon_threadsafe(add)

    def cancel(self, msg: Any | None = None) -> bool:
        """As the base class."""
        return self._on_loop(super().cancel, msg)

    def _on_loop(self, method: Callable[[Any], object], value: Any) -> bool:
        if running_loop() is self._facade.raw or self.done():
            return bool(method(value))
        self._facade.raw.call_soon_threadsafe(lambda: self.done() or method(value))
        return True


class _AdoptedFuture(_Adopted):
    def set_result(self, result: Any) -> None:
        self._on_loop(super().set_result, result)

    def set_exception(self, exception: type | BaseException) -> None:
        self._on_loop(super().set_exception, exception)


class _AdoptedTask(_Adopted, asyncio.Task[Any]):
    pass


class _RequestThread:
    """Lets the coroutines of adopted tasks run functions on the request's thread.

    A task begins as soon as it is made, usually a moment before its thread waits for it. Functions
    that the task asks for meanwhile run in that wait, or when the thread leaves the request's code.
    Lives as long as the tasks.
    """

    outer: Asked | None = None

    def __init__(self) -> None:
        self._waiting: list[Asked] = []  # One thread, the loop's.
        # Guards the rest. Reentrant, as a destructor in the thread that holds it may come here.
        self._mutex = new_mutex()
        self._asked: list[ServedFunction] = []  # asked for before a wait
        self._open = False  # the thread is in the request's code

    def enter(self) -> None:
        """The thread enters the request's code."""
        with self._mutex:
            self._open = True

    def leave(self) -> None:
        """The thread leaves the request's code: run the functions that no wait has run."""
        with self._mutex:
            self._open = False
            asked, self._asked = self._asked, []
        with ExitStack() as calls:  # all of them, also if one is interrupted
            for function in reversed(asked):
                calls.callback(function.run)

    async def wait_for(self, future: Awaitable[T]) -> T:
        """On the loop: wait for the future that the thread waits for."""
        caller = current_caller.get()
        assert caller is not None, "a thread waits"  # noqa: S101
        self._waiting.append(caller)
        try:
            with self._mutex:
                asked, self._asked = self._asked, []
            for function in asked:
                if not self.ask(asyncio.get_running_loop(), function):
                    function.lose()  # pragma: no cover - the thread gives up its wait right now
            return await future
        finally:
            self._waiting.remove(caller)
            del caller  # the caller leads to this context: avoid a cycle

    def ask(self, loop: asyncio.AbstractEventLoop, function: ServedFunction) -> bool:
        """On the loop: let the thread run a function; see `Asked`."""
        if any(caller.ask(loop, function) for caller in reversed(self._waiting)):
            return True
        runner = runner_of(loop)
        if runner is None:
            return False
        function.home = runner.live
        with self._mutex:
            if self._open:
                self._asked.append(function)
            return self._open
