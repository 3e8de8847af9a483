"""The manager: one event loop for one thread, and what sync code does with it."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import weakref
from collections.abc import Coroutine, Hashable
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from . import lineage
from .baton import Closing
from .checks import check_timeout, refuse_in_event_loop, running_loop
from .contexts import copy_changes, warn_of_leftovers
from .errors import UnknownAsyncTaskError
from .futures import DrivenFuture, TaskFuture
from .jobs import NEW, Job
from .lifecycle import Life
from .settings import Drive, LoopFactory, Settings

if TYPE_CHECKING:
    import concurrent.futures

    from .driver import Driver
    from .futures import SyncFuture

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

    Raises:
        TypeError, ValueError: An argument that cannot be used.
        RuntimeError: `creator_thread` is not alive.
    """

    lasting = False
    """Whether it is meant to run until its thread ends, so that a test may leave it running."""

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
    ) -> None:
        hash(id)
        settings = Settings(
            loop_factory=loop_factory, drive=drive, debug=debug, linger=linger, grace=grace
        )
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
            self.life.owner_ended()

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
        driver = self.life.driver
        if driver is None:
            raise self.life.refusal()
        return driver.loop.raw

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
            timeout: Seconds until it is cancelled; its cleanup is waited for, as long as the
                manager's grace. A `TimeoutError` of the coroutine's own passes through.
            task_type: The label that the manager was started with.
            context: The context that it runs in; a copy of the caller's with None.
            copy_back: Whether the caller sees the context variables that it set.

        Raises:
            TimeoutError: The time was over.
            asyncio.CancelledError: The coroutine was cancelled.
            UnknownAsyncTaskError: The label is another.
            RuntimeError: The manager is not started, or is being stopped, or this thread runs an
                event loop.
            TypeError: `coro` is no coroutine.
        """
        driver = self._accept(coro, task_type)
        try:
            seconds = None if timeout is None else check_timeout(timeout)
            before = None if context is None else context.copy()
            job = Job(coro, contextvars.copy_context() if context is None else context)
        except BaseException:
            coro.close()
            raise
        if context is not None:
            job.foreign_context = True
        leftovers = warn_of_leftovers(driver) if self._debug else None
        try:
            driver.caller.execute(job, seconds)
        except Closing:
            raise self._refused(coro, self.life.refusal()) from None
        except BaseException:
            if job.state is NEW:
                coro.close()  # a signal handler raised before anybody had seen it
            raise
        finally:
            if copy_back and job.context:
                copy_changes(job.context, before, hopped=job.waiter is not None)
        if leftovers is not None:
            leftovers()
        if job.exception is not None or job.expired:
            self._raise(job, timeout)
        return job.result  # type: ignore[no-any-return]

    def _raise(self, job: Job, timeout: float | None) -> None:
        error = job.exception
        try:
            if job.expired and not job.stopped and _is_ordinary(error):
                cause = None if job.cancelled else error
                raise TimeoutError(
                    f"{job.name} did not end within {timeout} s and was cancelled. "
                    "Give it more time, or submit_task() what may go on."
                ) from cause
            if error is not None:
                raise error
        finally:
            job.exception = None
            del error, job  # the traceback holds this frame: no cycle

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

        It outlives the call, the request too, and the manager holds it until it is done. An
        exception that nobody retrieves is logged. From any thread, also in a coroutine.

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
        driver = self._accept(coro, task_type, blocks=False)
        job = Job(coro, contextvars.copy_context())
        future: DrivenFuture[T] | TaskFuture[T]
        future = DrivenFuture(driver, job) if return_sync_future else TaskFuture(driver, job)
        job.future = future
        try:
            driver.submit(job, linger=return_sync_future)
        except Closing:
            job.future = None
            raise self._refused(coro, self.life.refusal()) from None
        return future

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


def _is_ordinary(error: BaseException | None) -> bool:
    return error is None or isinstance(error, (Exception, asyncio.CancelledError))


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
