"""The manager: one event loop for one thread, and what sync code does with it."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
import weakref
from collections.abc import Coroutine, Hashable
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from wsgi_async.core.actors.context_manager import (
    ContextManagerActor,
    SyncContextManager,
    is_async_context_manager,
    not_async_context_manager,
)
from wsgi_async.core.actors.prefetch import PrefetchingActor
from wsgi_async.core.actors.stream import StreamActor, SyncIterator
from wsgi_async.core.base import threads
from wsgi_async.core.base.checks import (
    check_count,
    check_timeout,
    refuse_in_event_loop,
    running_loop,
)
from wsgi_async.core.base.coroutines import close_refused, is_coroutine, need_stack
from wsgi_async.core.base.deadlines import request_deadline
from wsgi_async.core.base.forks import notice_fork
from wsgi_async.core.base.log import report
from wsgi_async.core.base.settings import Hook, LoopFactory, Settings
from wsgi_async.core.jobs import bridge
from wsgi_async.core.jobs.job import Job, current_caller
from wsgi_async.core.life.lifecycle import Lifecycle
from wsgi_async.core.messages.advice import not_a_coroutine, not_an_async_iterable
from wsgi_async.core.messages.errors import Closing, ManagerStateError, UnknownAsyncTaskError
from wsgi_async.core.results.groups import Ended
from wsgi_async.core.results.sync_future import SyncFuture
from wsgi_async.core.runners.resident import has_free_seat
from wsgi_async.core.runners.run import run

from .leftovers import warn_of_leftovers

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

    from wsgi_async.core.results.groups import JobGroup
    from wsgi_async.core.runners.runner import Runner

__all__ = [
    "AsyncioLoopManager",
    "forget_all",
    "lifecycle_of",
    "on_start",
    "submit_to_group",
]

T = TypeVar("T")

_instances: weakref.WeakSet[AsyncioLoopManager] = weakref.WeakSet()  # guarded by threads.lock()


class AsyncioLoopManager:
    """One event loop, which lives from `start()` to `stop()` or to the end of its thread.

    Sync code calls `run()` and `submit_task()`, from any thread that is not running an event loop
    itself. The loop continues between the calls. A loop and all coroutines on it stay on one
    thread: a background thread of the manager's own, or, on a thread of a
    `LoopThreadPoolExecutor`, that thread itself.

    In a `with` statement, in sync code, it is started and stopped::

        with AsyncioLoopManager() as loop:
            page = loop.run(fetch(url))

    Args:
        id: The key for `get_or_create_loop_manager()`. Any hashable value.
        creator_thread: The thread that the manager belongs to; the current one with None. It
            must be alive.
        loop_factory: Makes the loop, for example `uvloop.new_event_loop`; asyncio's with None.
        debug: asyncio's debug mode. It also warns about tasks that are still running when a `run()`
            returns. None uses asyncio's default.
        grace: How long a coroutine may clean up after a timeout has canceled it, in seconds.
        on_start: A function, plain or async, that is called on the loop when it starts, before any
            other work, and has 10 seconds. If it raises, `start()` raises the same exception.
        on_stop: The same, when the loop stops, before its resources are closed. Exceptions are
            logged.

    Raises:
        TypeError, ValueError: An argument that cannot be used.
        RuntimeError: `creator_thread` is not alive.
    """

    def __init__(
        self,
        id: Hashable = None,
        *,
        creator_thread: threading.Thread | None = None,
        loop_factory: LoopFactory | None = None,
        debug: bool | None = None,
        grace: float = 5.0,
        on_start: Hook | None = None,
        on_stop: Hook | None = None,
    ) -> None:
        hash(id)
        settings = Settings(
            loop_factory=loop_factory, debug=debug, grace=grace, on_start=on_start, on_stop=on_stop
        )
        notice_fork()
        self.id = id
        self._debug = debug
        self._creator_thread = creator_thread
        self._life = Lifecycle(id, _node_for(creator_thread), settings, self._forget)
        with threads.lock():
            _instances.add(self)

    def __repr__(self) -> str:
        kind = "" if self.task_type is None else f" task_type={self.task_type!r}"
        return f"<{self._life.label} {self.state}{kind} {self._life.work}>"

    @property
    def task_type(self) -> Hashable:
        """The task type that it was started with; None while it is not started."""
        return self._life.task_type

    @property
    def state(self) -> str:
        """The current state of the manager.

        One of `"new"`, `"starting"`, `"running"`, `"stopping"`, `"stopped"` and `"inherited"`,
        which means that it belongs to the process that this one was forked from.
        """
        return self._life.state

    @property
    def running(self) -> bool:
        """Whether it accepts work right now. A hint: another thread can call `stop()`."""
        runner = self._life.runner
        return runner is not None and not runner.live.closing

    # -- life ----------------------------------------------------------------------------------

    def start(self, task_type: Hashable = None) -> None:
        """Create the loop and run it. You can use the manager as soon as this returns.

        The manager is stopped when the thread that it belongs to ends, or when the process exits,
        whichever is first. You can start it again after a `stop()`. From any thread.

        Args:
            task_type: A label. Until it is stopped it accepts only coroutines that are submitted
                with the same one.

        Raises:
            RuntimeError: It is already started, or inherited from the parent process, its thread
                has ended, or the process cannot start another thread.
            OSError: The process has no file descriptors left.
        """
        hash(task_type)
        node = self._node()
        self._watch_creator(node)
        resident = node is threads.current_node() and has_free_seat()
        self._life.start(task_type, resident=resident)
        self._register(node)

    async def start_on_running_loop(self, task_type: Hashable = None) -> None:
        """Use the running loop, which somebody else runs, for example an ASGI server.

        Sync code on other threads can then `run()` coroutines on it. `stop()` ends the manager's
        own tasks and closes the loop's resources; the loop itself, and its other tasks, go on.
        `loop_factory` and `debug` have no effect, and `on_start` has no time limit. `on_stop` is
        called by `stop()`, not where the loop is closed without it. In a coroutine, on the thread
        that the manager belongs to.

        Args:
            task_type: As `start()` takes it.

        Raises:
            RuntimeError: As `start()`.
            BaseException: What `on_start` raised.
        """
        hash(task_type)
        node = self._node()
        self._watch_creator(node)
        self._life.start_as_guest(task_type)
        self._register(node)
        await self._life.call_on_start()

    def _node(self) -> threads.ThreadNode:
        """The node of the thread that the manager belongs to, for a start."""
        node = self._life.node
        if node.ended:
            raise ManagerStateError(
                f"{self._life.label} cannot be started: its thread has ended. "
                "Make a manager in a thread that is alive."
            )
        return node

    def _watch_creator(self, node: threads.ThreadNode) -> None:
        # Before the start, because the start must not succeed if this fails.
        if self._creator_thread is not None:
            threads.watch_end(self._creator_thread, node)

    def _register(self, node: threads.ThreadNode) -> None:
        """After a start: let look-ups find the manager, and have it stopped with its thread."""
        with threads.lock():
            _instances.add(self)
            node.owned[self._life] = None
        for hook in _start_hooks:
            self._call_hook(hook)
        node.found.setdefault(self.id, self)
        if node.ended:  # pragma: no cover - a race with the end of the thread
            # The thread ended just before its node owned us, and could not tell us. Not
            # owner_ended(): perhaps it did tell us, and a manager outlives a thread only once.
            self._life.request_stop()

    def _call_hook(self, hook: Callable[[], None]) -> None:
        # The manager is needed, but a hook that only looks at it is not.
        try:
            hook()
        except Exception as error:
            report(logging.ERROR, "%s: a start hook failed", self._life.label, error=error)

    def stop(self, timeout: float = 10.0) -> None:
        """End everything on the loop and close it. Look-ups no longer find the manager.

        You can call it at any time. If the manager is not started, look-ups no longer find it.

        It refuses new work, cancels unfinished tasks and waits for them, closes the loop's
        resources, async generators and default executor, and closes the loop. Threads that wait
        for something of this manager get a `RuntimeError`. From any thread that is not running an
        event loop.

        Args:
            timeout: Seconds for the whole shutdown. Tasks get at most half of it. The log names
                everything that does not end in time, and the call returns.

        Raises:
            RuntimeError: This thread is running an event loop.
        """
        seconds = check_timeout(timeout)
        if self._life.runner is None:
            self._forget()
        self._life.stop(threading.TIMEOUT_MAX if seconds is None else seconds)

    def __enter__(self) -> Self:
        # The exit would be refused, and hide what the block has raised.
        refuse_in_event_loop("call start(), and later `await asyncio.to_thread(manager.stop)`")
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _forget(self) -> None:
        """The loop is closed: look-ups do not find the manager until it is started again."""
        node = self._life.node
        with threads.lock():
            _instances.discard(self)
            node.owned.pop(self._life, None)
        node.forget(self.id, self)

    def get_event_loop(self) -> asyncio.AbstractEventLoop:
        """The asyncio loop, for example for `asyncio.run_coroutine_threadsafe`.

        Running, stopping and closing the loop are refused.

        Raises:
            RuntimeError: The manager is not started.
        """
        return self._runner().live.raw

    # -- work ----------------------------------------------------------------------------------

    def run(
        self,
        coro: Coroutine[Any, Any, T],
        *,
        timeout: float | None = None,
        task_type: Hashable = None,
        context: contextvars.Context | None = None,
        copy_back: bool = True,
    ) -> T:
        """Run a coroutine and return its result.

        The calling thread blocks until the coroutine is done. Call this from sync code; inside a
        coroutine, use `await`. From any thread.

        Args:
            coro: The coroutine. It is closed if it is not accepted.
            timeout: Seconds until the coroutine is canceled. An earlier deadline of the request
                takes precedence. The call then waits for the coroutine's cleanup, for at most the
                manager's `grace`. A `TimeoutError` that the coroutine raises itself passes through.
            task_type: The task type that the manager was started with.
            context: The context that it runs in; a copy of the caller's with None.
            copy_back: Whether the caller sees the context variables that it sets.

        Raises:
            TimeoutError: The time has passed. If the request's deadline had passed before,
                nothing was started.
            asyncio.CancelledError: The coroutine was canceled.
            UnknownAsyncTaskError: The manager was started for another task type.
            RuntimeError: The manager is not started, or is being stopped, or this thread is
                running an event loop.
            TypeError: `coro` is not a coroutine.
        """
        life = self._life
        runner = life.runner
        if runner is None or task_type != life.task_type or running_loop() is not None:
            raise self._refusal(coro, task_type, blocks=True)
        # Check the type first, because that costs less.
        given: object = coro
        if not (type(given) is CoroutineType or is_coroutine(given)):
            raise not_a_coroutine(given)
        bridge.look()
        leftovers = warn_of_leftovers(runner) if self._debug else None
        try:
            return run(runner, coro, timeout, context, copy_back=copy_back)
        except Closing:
            close_refused(coro)
            raise life.refusal() from None
        finally:
            if leftovers is not None:
                leftovers()

    def submit_task(
        self,
        coro: Coroutine[Any, Any, T],
        return_sync_future: bool = False,  # noqa: ARG002 - both give the same class by now
        task_type: Hashable = None,
    ) -> SyncFuture[T]:
        """Start a coroutine in the background and return at once.

        The task outlives the call, the request and the request's deadline. The manager keeps it
        until it is done, and logs an exception that nobody retrieves. From any thread, also in a
        coroutine.

        Args:
            coro: The coroutine. It is closed if it is not accepted. It sees a copy of the
                caller's context variables.
            return_sync_future: Has no effect; every future is a `SyncFuture`, which is a
                `concurrent.futures.Future`.
            task_type: The task type that the manager was started with.

        Raises:
            UnknownAsyncTaskError: The manager was started for another task type.
            RuntimeError: The manager is not started, or is being stopped.
            TypeError: `coro` is not a coroutine.
        """
        return self._submit(coro, task_type, None)

    def _submit(
        self, coro: Coroutine[Any, Any, T], task_type: Hashable, group: JobGroup | None
    ) -> SyncFuture[T]:
        runner = self._life.runner
        if runner is None or task_type != self._life.task_type:
            raise self._refusal(coro, task_type, blocks=False)
        given: object = coro
        if not (type(given) is CoroutineType or is_coroutine(given)):
            raise not_a_coroutine(given)
        try:
            need_stack()
            bridge.look()
            job = Job(coro, _background_context(keep_deadline=group is not None))
            future: SyncFuture[T] = SyncFuture()
            future.attach(runner, job)
        except BaseException:
            close_refused(coro)
            raise
        try:
            if group is None:
                runner.live.submit(job)
            else:
                group.submit(runner, job, future)
        except Closing:
            close_refused(coro)
            raise self._life.refusal() from None
        except BaseException as error:
            if isinstance(error, Ended):
                close_refused(coro)
            else:  # what a signal handler raised
                runner.live.request_cancel(job)
            raise
        return future

    def iterate(self, async_iterable: AsyncIterable[T], *, prefetch: int = 0) -> SyncIterator[T]:
        """Iterate over an async iterable in sync code, for example in a streamed response.

        The whole iterable runs in one task and one context. It starts when you request the first
        item. From any thread.

        Args:
            async_iterable: An async generator, or anything that `async for` takes.
            prefetch: How many items it may run ahead of the loop that consumes them.

        Returns:
            An iterator that is also a context manager. Close it if you stop iterating early: the
            generator's `finally` blocks run then.

        Raises:
            RuntimeError: The manager is not started.
            TypeError: It is not an async iterable, or `prefetch` is not an integer.
            ValueError: `prefetch` is negative.
        """
        if not hasattr(async_iterable, "__aiter__"):
            raise not_an_async_iterable(async_iterable)
        check_count("prefetch", prefetch)
        runner = self._runner()
        if prefetch:
            return SyncIterator(PrefetchingActor(runner, async_iterable, prefetch))
        return SyncIterator(StreamActor(runner, async_iterable))

    def wrap_async_context_manager(
        self,
        cm: AbstractAsyncContextManager[T, bool | None]
        | Callable[[], AbstractAsyncContextManager[T, bool | None]],
    ) -> SyncContextManager[T]:
        """Use an async context manager in a `with` statement.

        Its enter and exit run in one task, and what it holds stays open for the `run()` calls of
        the `with` body. From any thread that is not running an event loop.

        Args:
            cm: The async context manager, which is used once. Or a function that makes it on the
                loop, for a context manager that can only be created there:
                `lambda: asyncio.timeout(5)`.

        Raises:
            RuntimeError: The manager is not started.
            TypeError: It is not an async context manager.
        """
        if not (is_async_context_manager(cm) or callable(cm)):
            raise not_async_context_manager(cm)
        return SyncContextManager(ContextManagerActor(self._runner(), cm))

    def _runner(self) -> Runner:
        runner = self._life.runner
        if runner is None:
            raise self._life.refusal()
        return runner

    def _refusal(self, coro: object, task_type: Hashable, *, blocks: bool) -> Exception:
        """Why a coroutine is not accepted; closes it."""
        if not is_coroutine(coro):
            return not_a_coroutine(coro)
        close_refused(coro)  # type: ignore[arg-type]
        if self._life.runner is None:
            return self._life.refusal()
        if task_type != self._life.task_type:
            return UnknownAsyncTaskError(task_type, self._life.task_type)
        try:
            if blocks:  # pragma: no branch - else its stop began just now
                refuse_in_event_loop("await the coroutine itself")
        except RuntimeError as error:
            return error.with_traceback(None)
        return self._life.refusal()

    # -- all of them ---------------------------------------------------------------------------

    @classmethod
    def all_instances(cls) -> list[AsyncioLoopManager]:
        """All managers that are not stopped, in no particular order. From any thread."""
        with threads.lock():
            return list(_instances)

    @classmethod
    def registry(cls) -> dict[int, dict[Hashable, AsyncioLoopManager]]:
        """A snapshot of what look-ups find, as `{thread ident: {id: manager}}`. From any thread."""
        snapshot: dict[int, dict[Hashable, AsyncioLoopManager]] = {}
        for manager in cls.all_instances():
            node = lifecycle_of(manager).node
            found = node.found.get(manager.id) is manager
            # The ident of an ended thread may belong to another thread by now.
            if found and node.ident is not None and not node.ended:
                snapshot.setdefault(node.ident, {})[manager.id] = manager
        return snapshot


_start_hooks: list[Callable[[], None]] = []


def on_start(hook: Callable[[], None]) -> None:
    """Add a function to call at each start of a manager. Called at import."""
    _start_hooks.append(hook)


def lifecycle_of(manager: AsyncioLoopManager) -> Lifecycle:
    """The lifecycle of a manager, for the library's own parts."""
    return manager._life  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]


def submit_to_group(
    manager: AsyncioLoopManager,
    coro: Coroutine[Any, Any, T],
    task_type: Hashable,
    group: JobGroup | None,
) -> SyncFuture[T]:
    """What `submit_task()` does, for a job that ends with a group.

    Args:
        manager: The manager.
        coro: The coroutine.
        task_type: The task type that the manager was started with.
        group: The group that the job ends with, and whose deadline it keeps. None if there is none.

    Raises:
        RuntimeError: The group has ended. The other errors are those of `submit_task()`.
    """
    return manager._submit(coro, task_type, group)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]


def _background_context(*, keep_deadline: bool) -> contextvars.Context:
    """A context for work that no thread waits for."""
    context = contextvars.copy_context()
    if current_caller.get() is not None:
        context.run(current_caller.set, None)
    if not keep_deadline and request_deadline.get() is not None:
        context.run(request_deadline.set, None)
    if bridge.active is not None:
        bridge.active.submitted(context)
    return context


def _node_for(thread: threading.Thread | None) -> threads.ThreadNode:
    if thread is None:
        return threads.current_node()
    if not threads.checked_thread(thread, "creator_thread").is_alive():
        raise ManagerStateError(
            f"creator_thread {thread.name!r} is not alive. Make the manager while it runs."
        )
    if thread.ident == threading.get_ident():
        return threads.current_node()
    node = threads.node_of(thread)
    node.ident = thread.ident
    return node


def forget_all() -> list[Lifecycle]:
    """In a forked child: forget all managers. Return their lifecycles; takes no lock."""
    lives = [lifecycle_of(manager) for manager in list(_instances)]
    _instances.clear()
    return lives
