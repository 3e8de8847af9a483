"""The manager: one event loop for one thread, and what sync code does with it."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import weakref
from collections.abc import Coroutine, Hashable
from sys import modules
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from . import lineage
from .checks import check_count, check_timeout, refuse_in_event_loop, running_loop
from .context_managers import (
    ContextManagerHost,
    SyncContextManager,
    is_async_context_manager,
    no_async_context_manager,
)
from .contexts import warn_of_leftovers
from .deadlines import deadline
from .errors import UnknownAsyncTaskError
from .forks import notice_fork
from .futures import DrivenFuture, TaskFuture
from .groups import Ended
from .jobs import Job
from .lifecycle import Life
from .moves import Closing
from .one_thread import present_calls, submit_for
from .prefetching import PrefetchingPump
from .running import run_on, serve_sync_calls
from .settings import Drive, LoopFactory, Settings
from .streaming import Pump, SyncIterator
from .sync_calls import current_calls

if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import AsyncIterable, Callable
    from contextlib import AbstractAsyncContextManager

    from .driver import Driver
    from .futures import SyncFuture
    from .groups import JobGroup

__all__ = ["AsyncioLoopManager", "forget_all"]

T = TypeVar("T")

_instances: weakref.WeakSet[AsyncioLoopManager] = weakref.WeakSet()  # guarded by lineage.lock()


class AsyncioLoopManager:
    """Owns one event loop, which lives from `start()` to `stop()` or to its thread's end.

    Sync code calls `run()` and `submit_task()`, from any thread that does not itself run an event
    loop. The loop goes on between the calls. A coroutine given to a manager runs on one thread
    from its first step to its last: on the caller's own, which drives the loop while it waits,
    or on the keeper, the manager's own thread.

    Args:
        id: What `get_or_create_loop_manager` finds the manager by; any hashable.
        creator_thread: The thread that the manager belongs to; the current one with None. It
            must be alive.
        loop_factory: Makes the loop, `uvloop.new_event_loop` for one; asyncio's with None.
        drive: "auto": a caller drives where that cannot break anything. "keeper": only the keeper
            ever drives. "caller": every waiter drives in every case, also in the main thread and
            while background tasks run, whose coroutines then change their thread.
        debug: asyncio's debug mode; besides, warns of tasks that a `run()` leaves behind.
            As asyncio decides with None.
        linger: How long the loop may wait for a visit after a call, in seconds. Timers and
            sockets of background work wait no longer than that.
        grace: How long a coroutine that was cancelled by a timeout may clean up, in seconds.
        max_pause: How long a sync function that a coroutine calls by asgiref's `sync_to_async` may
            keep the loop from its other work, in seconds. Then the keeper takes the loop over, and
            steps that coroutine to its end.

    Raises:
        TypeError, ValueError: An argument that cannot be used.
        RuntimeError: `creator_thread` is not alive.
    """

    lasting = False
    """Whether it is meant to run until its thread ends, so that a test may leave it running."""
    at_rest = False
    """Whether its thread is between two requests, or at its end; for a `ManagerPool`."""

    def __init__(
        self,
        id: Hashable = None,
        *,
        creator_thread: threading.Thread | None = None,
        loop_factory: LoopFactory | None = None,
        drive: Drive = "auto",
        debug: bool | None = None,
        linger: float = 0.005,
        grace: float = 5.0,
        max_pause: float = 1.0,
    ) -> None:
        hash(id)
        settings = Settings(
            loop_factory=loop_factory,
            drive=drive,
            debug=debug,
            linger=linger,
            grace=grace,
            max_pause=max_pause,
        )
        notice_fork()
        self.id = id
        self._debug = debug
        self._creator_thread = creator_thread
        self.node = _node_for(creator_thread)
        self.life = Life(id, self.node, settings, self._forget)
        with lineage.lock():
            _instances.add(self)

    def __repr__(self) -> str:
        kind = "" if self.task_type is None else f" task_type={self.task_type!r}"
        return f"<{self.life.label} {self.state}{kind} in_flight={self._in_flight()}>"

    def _in_flight(self) -> int:
        driver = self.life.driver
        return 0 if driver is None else len(driver.in_flight()) + len(driver.baton.queue)

    @property
    def task_type(self) -> Hashable:
        """The label that it was started with; None while it is not started."""
        return self.life.task_type

    @property
    def state(self) -> str:
        """Where it is in its life: new, running, stopping, stopped, or inherited by a fork."""
        return self.life.state

    @property
    def running(self) -> bool:
        """Whether it takes work right now. A hint: a `stop()` may come at any time."""
        driver = self.life.driver
        return driver is not None and not driver.baton.closing

    # -- life --------------------------------------------------------------------------------

    def start(self, task_type: Hashable = None) -> None:
        """Make the loop and the keeper. On return the manager can be used.

        The manager is stopped when its owner thread ends, and at the process's exit, if it was
        not before. It may be started again after a `stop()`. From any thread.

        Args:
            task_type: A label. From now on only coroutines that come with the same one are taken.

        Raises:
            RuntimeError: It is started already, or inherited from the parent process, its thread
                has ended, or the process cannot start another thread.
            OSError: The process has no file descriptors left.
        """
        hash(task_type)
        if self.node.ended:
            raise RuntimeError(
                f"{self.life.label} cannot be started: its thread has ended. "
                "Make a manager in a thread that is alive."
            )
        self.life.start(task_type)
        with lineage.lock():
            _instances.add(self)
            self.node.owned[self.life] = None
            self.node.found.setdefault(self.id, self)
        if self._creator_thread is not None:
            lineage.watch_end(self._creator_thread, self.node)
        if self.node.ended:  # it ended just before it owned us, and could not tell us
            # Not owner_ended(): perhaps it did tell us, and a manager outlives a thread once.
            self.life.request_stop()

    def stop(self, timeout: float = 10.0) -> None:
        """End everything on the loop and close it. Look-ups do not find the manager any more.

        May be called at any time: one that is not started is just forgotten.

        Refuses new work, cancels what is left and waits for it, shuts down async generators and
        the default executor, closes the loop and ends the keeper. Whoever waits for something of
        this manager gets a `RuntimeError`. From any thread that runs no event loop.

        Args:
            timeout: Seconds for all of that, at most half of them for the tasks. What did not
                end in time is logged by name, and the call returns.

        Raises:
            RuntimeError: This thread runs an event loop, or drives this one.
        """
        seconds = check_timeout(timeout)
        if self.life.driver is None:
            self._forget()
        self.life.stop(threading.TIMEOUT_MAX if seconds is None else seconds)

    def _forget(self) -> None:
        """The loop is closed: look-ups do not find the manager until it is started again."""
        with lineage.lock():
            _instances.discard(self)
            self.node.owned.pop(self.life, None)
            if self.node.found.get(self.id) is self:
                del self.node.found[self.id]

    def get_event_loop(self) -> asyncio.AbstractEventLoop:
        """The asyncio loop, for instance for `asyncio.run_coroutine_threadsafe`.

        What reaches the loop so, past the manager, runs promptly but is not tracked: it may be
        stepped by one thread after another. Running, stopping and closing the loop are refused.

        Raises:
            RuntimeError: The manager is not started.
        """
        return self.driver().loop.raw

    # -- work --------------------------------------------------------------------------------

    def run(
        self,
        coro: Coroutine[Any, Any, T],
        *,
        timeout: float | None = None,
        task_type: Hashable = None,
        context: contextvars.Context | None = None,
        copy_back: bool = True,
    ) -> T:
        """Run a coroutine to its end; return its result or raise what it raised.

        On the manager's own thread, with nothing in flight, this thread drives the loop and the
        coroutine runs right here. Otherwise it runs on the keeper. From any thread that runs no
        event loop.

        Args:
            coro: The coroutine. If it is refused, it is closed.
            timeout: Seconds until it is cancelled, or less where the request's deadline comes
                first; its cleanup is waited for, as long as the manager's grace. A
                `TimeoutError` of the coroutine's own passes through.
            task_type: The label that the manager was started with.
            context: The context that it runs in; a copy of the caller's with None.
            copy_back: Whether the caller sees the context variables that it set.

        Raises:
            TimeoutError: The time was over. With the request's deadline over from the beginning,
                nothing was started.
            asyncio.CancelledError: The coroutine was cancelled.
            UnknownAsyncTaskError: The label is another.
            RuntimeError: The manager is not started, or is being stopped, or this thread runs an
                event loop.
            TypeError: `coro` is no coroutine.
        """
        driver = self._accept(coro, task_type)
        leftovers = warn_of_leftovers(driver) if self._debug else None
        try:
            return run_on(driver, coro, timeout=timeout, context=context, copy_back=copy_back)
        except Closing:
            raise self.life.refusal() from None
        finally:
            if leftovers is not None:
                leftovers()

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
        """Start a coroutine in the background and return at once.

        It outlives the call, the request too and its deadline, and the manager holds it until it
        is done. An exception that nobody retrieves is logged. From any thread, also in a
        coroutine.

        Args:
            coro: The coroutine. If it is refused, it is closed. It sees a copy of the caller's
                context variables.
            return_sync_future: False: it starts at once, on the keeper. True: its waiter may
                start and drive it, and the keeper does if none comes within the linger.
            task_type: The label that the manager was started with.

        Returns:
            A `concurrent.futures.Future`, or a `SyncFuture`.

        Raises:
            UnknownAsyncTaskError: The label is another.
            RuntimeError: The manager is not started, or is being stopped.
            TypeError: `coro` is no coroutine.
        """
        return self.submit_job(coro, return_sync_future, task_type, None)

    def submit_job(
        self,
        coro: Coroutine[Any, Any, T],
        return_sync_future: bool,
        task_type: Hashable,
        group: JobGroup | None,
    ) -> DrivenFuture[T] | TaskFuture[T]:
        """What `submit_task()` does, for the library's own parts too.

        Args:
            coro: As there, as are the next two.
            return_sync_future: False: a `concurrent.futures.Future`. True: a `SyncFuture`.
            task_type: The label that the manager was started with.
            group: What the job ends with, and whose deadline it keeps; None if it outlives
                both.

        Raises:
            RuntimeError: The group has ended; the others are those of `submit_task()`.
        """
        driver = self._accept(coro, task_type, blocks=False)
        context = contextvars.copy_context()
        if group is None and deadline.get() is not None:
            context.run(deadline.set, None)
        calls = present_calls()
        if (served := current_calls.get()) is not None:
            context.run(current_calls.set, None)  # no thread waits for it with that
            calls = calls or served.background
        if calls is not None:
            context.run(submit_for.set, calls)
        if "asgiref.sync" in modules and not driver.serves_sync_calls:
            serve_sync_calls(driver)
        job = Job(coro, context)
        future: DrivenFuture[T] | TaskFuture[T]
        future = DrivenFuture(driver, job) if return_sync_future else TaskFuture(driver, job)
        job.future = future
        try:
            if group is None:
                driver.submit(job, linger=return_sync_future)
            else:
                group.submit(driver, job, future, linger=return_sync_future)
        except Closing:
            job.future = None
            raise self._refused(coro, self.life.refusal()) from None
        except Ended as error:
            raise self._refused(coro, error) from None
        return future

    def iterate(self, async_iterable: AsyncIterable[T], *, prefetch: int = 0) -> SyncIterator[T]:
        """Iterate over an async iterable in sync code, in a streamed response for one.

        The whole iterable runs in one task and one context. Without `prefetch` it makes an item
        when it is asked for one, on the thread that asks where `run()` would run there; from the
        first item that the keeper had to make, they all come from the keeper. From any thread;
        nothing runs before the first item is asked for.

        Args:
            async_iterable: An async generator, or anything that `async for` takes.
            prefetch: How many items it may run ahead, on the keeper.

        Returns:
            An iterator that is a context manager too. Close it if it is left early: the
            generator's `finally` blocks run then.

        Raises:
            RuntimeError: The manager is not started.
            TypeError: It is no async iterable, or `prefetch` no integer.
            ValueError: `prefetch` is negative.
        """
        if not hasattr(async_iterable, "__aiter__"):
            raise TypeError(
                f"{async_iterable!r} is no async iterable. Call the async generator function, or "
                "give an object with __aiter__()."
            )
        check_count("prefetch", prefetch)
        driver = self.driver()
        if prefetch:
            return SyncIterator(PrefetchingPump(driver, async_iterable, prefetch))
        return SyncIterator(Pump(driver, async_iterable))

    def wrap_async_context_manager(
        self,
        cm: AbstractAsyncContextManager[T, bool | None]
        | Callable[[], AbstractAsyncContextManager[T, bool | None]],
    ) -> SyncContextManager[T]:
        """Use an async context manager in a `with` statement.

        Its enter and exit run in one task, on the keeper, and what it holds stays open for the
        `run()` calls of the `with` body. From any thread that runs no event loop.

        Args:
            cm: The async context manager, which is used once. Or a function that makes it on the
                loop, for one that cannot be made elsewhere: `lambda: asyncio.timeout(5)`.

        Raises:
            RuntimeError: The manager is not started.
            TypeError: It is no async context manager.
        """
        if not (is_async_context_manager(cm) or callable(cm)):
            raise no_async_context_manager(cm)
        return SyncContextManager(ContextManagerHost(self.driver(), cm))

    def driver(self) -> Driver:
        """What drives the loop, for the library's own parts.

        Raises:
            RuntimeError: The manager is not started.
        """
        driver = self.life.driver
        if driver is None:
            raise self.life.refusal()
        return driver

    def _accept(
        self, coro: Coroutine[Any, Any, T], task_type: Hashable, *, blocks: bool = True
    ) -> Driver:
        driver = self.life.driver
        if not _is_coroutine(coro):
            raise TypeError(
                f"{coro!r} is no coroutine. Call the async function, or wrap it in an async def."
            )
        if driver is None:
            raise self._refused(coro, self.life.refusal())
        if task_type != self.life.task_type:
            raise self._refused(coro, UnknownAsyncTaskError(task_type, self.life.task_type))
        if blocks and running_loop() is not None:
            try:
                refuse_in_event_loop("await the coroutine itself")
            except RuntimeError as error:
                raise self._refused(coro, error) from None
        return driver

    def _refused(self, coro: Coroutine[Any, Any, Any], error: Exception) -> Exception:
        coro.close()  # or a "coroutine was never awaited" warning would follow
        return error

    # -- all of them -----------------------------------------------------------------------------

    @classmethod
    def all_instances(cls) -> list[AsyncioLoopManager]:
        """The managers that are not stopped, in no order. From any thread."""
        with lineage.lock():
            return list(_instances)

    @classmethod
    def registry(cls) -> dict[int, dict[Hashable, AsyncioLoopManager]]:
        """What look-ups find, as `{thread ident: {id: manager}}`; a snapshot. From any thread."""
        snapshot: dict[int, dict[Hashable, AsyncioLoopManager]] = {}
        with lineage.lock():
            for manager in _instances:
                node = manager.node
                found = node.found.get(manager.id) is manager
                # The ident of an ended thread may be another's by now.
                if found and node.ident is not None and not node.ended:
                    snapshot.setdefault(node.ident, {})[manager.id] = manager
        return snapshot


def _is_coroutine(value: object) -> bool:
    # The type first: asyncio's function has to allow for generators too, and costs more.
    return type(value) is CoroutineType or asyncio.iscoroutine(value)


def _node_for(thread: threading.Thread | None) -> lineage.ThreadNode:
    if thread is None:
        return lineage.current_node()
    if not lineage.checked_thread(thread, "creator_thread").is_alive():
        raise RuntimeError(
            f"creator_thread {thread.name!r} is not alive. Make the manager while it runs."
        )
    if thread.ident == threading.get_ident():
        return lineage.current_node()
    node = lineage.node_of(thread)
    node.ident = thread.ident
    return node


def forget_all() -> list[Life]:
    """In a forked child: none of the managers is ours. Returns their lives; takes no lock."""
    lives = [manager.life for manager in list(_instances)]
    _instances.clear()
    return lives
