"""A thread pool whose threads each have an event loop of their own."""

from __future__ import annotations

import itertools
import logging
import threading
import weakref
from collections import deque
from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from wsgi_async.core.base.checks import check_count
from wsgi_async.core.base.log import report
from wsgi_async.core.base.settings import primitives
from wsgi_async.core.runners.resident import (
    LoopWakeup,
    Seat,
    borrow_here,
    give_back_here,
    take_seat,
)

from .current import start_once
from .manager import lifecycle_of
from .registry import get_or_create_loop_manager

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsgi_async.core.base.deadlines import Deadline
    from wsgi_async.core.base.primitives import Wakeup

__all__ = ["LoopThreadPoolExecutor", "forget_pools", "shut_down_pools", "threads_of_pool"]

P = ParamSpec("P")
T = TypeVar("T")

_numbers = itertools.count()

_TOO_OFTEN = 3


class LoopThreadPoolExecutor(Executor):
    """A `concurrent.futures.Executor` whose threads each own an event loop.

    Each loop lives on its thread. A function that the pool runs calls `run()`, and the coroutine
    runs on the same thread. A thread with nothing to do waits inside its loop, where background
    tasks continue. While a function computes, the loop of its thread stands still. If the pool
    always has work, each loop gets a turn between two functions.

    Threads start when they are needed, and live until `shutdown()` or the end of the process.
    Callable from any thread.

    Args:
        max_workers: How many threads there are at most.
        thread_name_prefix: What their names begin with.
        initializer: Called at the start of each thread. If it raises, the thread ends; the work
            that waits for the last thread then fails.
        initargs: Its arguments.
        own_managers: Each thread makes its manager, without an id, when it starts. With False it
            has none at first: the first one that is started on the thread lives there.
        **options: What `AsyncioLoopManager` takes by keyword, for example `loop_factory`.

    Raises:
        TypeError, ValueError: `max_workers` is not a number from one.
    """

    def __init__(
        self,
        max_workers: int,
        thread_name_prefix: str = "",
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        own_managers: bool = True,
        **options: Any,
    ) -> None:
        check_count("max_workers", max_workers)
        if max_workers < 1:
            raise ValueError("max_workers is 0. Give a whole number from one.")
        # Never changes:
        self._max_workers = max_workers
        self._prefix = thread_name_prefix or f"LoopThreadPoolExecutor-{next(_numbers)}"
        self._names = itertools.count()
        self._initializer = initializer
        self._initargs = initargs
        self._own_managers = own_managers
        self._options = options
        self._primitives = primitives
        # Its thread can take it again: a destructor may submit work anywhere.
        self._lock = primitives.mutex()
        # Guarded by `LoopThreadPoolExecutor._lock`:
        self._work: deque[_Work] = deque()  # what no thread has taken yet
        # Threads without work, and what each waits with. Who came last is woken first: its caches
        # are warm, and the others may sleep on.
        self._idle: dict[_Worker, Wakeup] = {}
        self._workers: set[_Worker] = set()
        self._leaving: set[_Worker] = set()  # they take no work, and close their loops
        self._shut_down = False
        # No lock: written in a forked child, where there is one thread.
        self._inherited = False
        _pools.add(self)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have a thread of the pool call a function.

        Raises:
            RuntimeError: The pool is shut down or the parent process's, or its first thread cannot
                be started.
        """
        if self._inherited:
            raise RuntimeError(
                "This pool belongs to the parent process. Make a new one in this process."
            )
        work = _Work(fn, args, kwargs)
        with self._lock:
            if self._shut_down:
                raise RuntimeError("This pool is shut down. Make a new one.")
            self._work.append(work)
            if self._idle:
                worker = next(reversed(self._idle))
                # Woken first: a signal handler that raises in between must not lose the wake-up.
                self._idle[worker].set()
                self._idle.pop(worker, None)
            elif len(self._workers) < self._max_workers:
                self._add_worker(work)
        return work.future

    def _add_worker(self, work: _Work) -> None:
        """Start a thread for a piece of work. The lock is held: a shutdown() has to see it."""
        worker = _Worker(self, f"{self._prefix}_{next(self._names)}")
        self._workers.add(worker)
        try:
            worker.thread = self._primitives.start_thread(worker.run, worker.name)
        except BaseException as error:
            self._workers.discard(worker)
            if self._workers and isinstance(error, RuntimeError):
                return  # there are no more threads to be had, but one that will come to it
            if work in self._work:
                self._work.remove(work)
            raise

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Refuse new work, do what is queued, close the loops and end the threads.

        Args:
            wait: Whether to wait for that.
            cancel_futures: Cancel what no thread has taken yet.
        """
        workers = self.close(cancel_futures=cancel_futures)
        if wait:
            for worker in workers:
                worker.join(None)

    def close(self, *, cancel_futures: bool = False) -> list[_Worker]:
        """As `shutdown()` without waiting; returns the threads that have not ended."""
        if self._inherited:
            return []
        with self._lock:
            self._shut_down = True
            dropped: list[_Work] = []
            while cancel_futures and self._work:
                dropped.append(self._work.popleft())
            for wakeup in self._idle.values():
                wakeup.set()
            workers = [*self._workers, *self._leaving]
        for work in dropped:
            work.drop()
        return workers

    def threads(self) -> list[threading.Thread]:
        """Those that have not ended; none once it is shut down. For the library's own parts."""
        with self._lock:
            workers = () if self._shut_down else (*self._workers, *self._leaving)
        return [worker.thread for worker in workers if worker.thread is not None]

    # -- for the workers -----------------------------------------------------------------------

    def enter_thread(self) -> None:
        """At the start of a thread: make its manager, and call the initializer."""
        if self._own_managers:
            manager = start_once(get_or_create_loop_manager(None, True, **self._options))
            lifecycle_of(manager).of_pool = True
        if self._initializer is not None:
            self._initializer(*self._initargs)

    def next_work(self, worker: _Worker) -> _Work | Wakeup | None:
        """What a thread does next: a piece of work, or wait with this wake-up, or end.

        To look for work and to go on the idle list is one step, so a thread that waits is woken
        for what comes after its look.
        """
        if self._inherited:
            return None
        with self._lock:
            # It is not idle any more, if it was: perhaps nobody has woken it.
            self._idle.pop(worker, None)
            if self._work:
                return self._work.popleft()
            if self._shut_down:
                return None
            wakeup = self._idle[worker] = borrow_here(primitives)
            return wakeup

    def leave(self, worker: _Worker, *, failed: bool) -> None:
        """A thread takes no more work."""
        if self._inherited:
            return
        lost: list[_Work] = []
        with self._lock:
            self._workers.discard(worker)
            self._idle.pop(worker, None)
            self._leaving.add(worker)
            while failed and self._work and not self._workers:
                lost.append(self._work.popleft())
        for work in lost:
            work.fail(
                RuntimeError("The last thread of this pool has failed. The log has the reason.")
            )

    def forget(self, worker: _Worker) -> None:
        """A thread is at its end, and its loop is closed."""
        if not self._inherited:
            with self._lock:
                self._leaving.discard(worker)

    def inherit(self) -> None:
        """In a forked child: the threads are the parent's."""
        self._inherited = True


class _Work:
    """One call of a function. Lives until it has an outcome."""

    def __init__(self, fn: Callable[..., Any], args: Any, kwargs: Any) -> None:
        self.future: Future[Any] = Future()
        self._call = (fn, args, kwargs)

    def run(self) -> None:
        """In a thread of the pool: call the function."""
        if not self.future.set_running_or_notify_cancel():
            return
        fn, args, kwargs = self._call
        try:
            self.future.set_result(fn(*args, **kwargs))
        except BaseException as error:
            if self.future.done():
                raise  # it comes from one of the future's callbacks, or from outside
            self.future.set_exception(error)
            del self  # the traceback holds this frame: no cycle

    def drop(self) -> None:
        """No thread will take it: cancel it, and tell all who wait."""
        if self.future.cancel():
            self.future.set_running_or_notify_cancel()

    def fail(self, error: BaseException) -> None:
        """No thread will take it: have it raise this."""
        if self.future.set_running_or_notify_cancel():
            self.future.set_exception(error)


class _Worker:
    """One thread of the pool, and its loop. Lives as long as the thread."""

    def __init__(self, pool: LoopThreadPoolExecutor, name: str) -> None:
        # Never changes:
        self._pool = pool
        self.name = name
        self.thread: threading.Thread | None = None  # set before anybody else gets to see us
        # One thread, its own:
        self._seat: Seat | None = None
        self._disturbed = 0  # how often it was, in a row

    def join(self, timeout: float | None) -> None:
        """Wait for the thread's end, at most `timeout` seconds."""
        if self.thread is not None and self.thread is not threading.current_thread():
            self.thread.join(timeout)

    # -- in the thread -------------------------------------------------------------------------

    def run(self) -> None:
        """Do the pool's work until it is shut down; the thread's main function."""
        self._seat = take_seat()
        failed = True
        try:
            self._pool.enter_thread()
            while self._go_on():
                pass
            failed = False
        except BaseException as error:
            report(logging.CRITICAL, "the thread %s of a pool has failed", self.name, error=error)
        finally:
            self._pool.leave(self, failed=failed)
            self._close_loop()
            self._pool.forget(self)

    def _go_on(self) -> bool:
        """Do the next thing; whether there may be another.

        Raises:
            BaseException: The thread is of no use any more, as its loop is broken.
        """
        try:
            going_on = self._do_next()
        except BaseException as error:
            # Somebody has raised it in this thread from outside, most likely to end a function
            # that had just ended. If it comes again and again, it comes from the loop itself.
            self._disturbed += 1
            if self._disturbed > _TOO_OFTEN:
                raise
            report(
                logging.ERROR,
                "an exception was raised in the thread %s of a pool, outside of a function; the "
                "thread continues",
                self.name,
                error=error,
            )
            return True
        self._disturbed = 0
        return going_on

    def _do_next(self) -> bool:
        found = self._pool.next_work(self)
        if found is None:
            return False
        if isinstance(found, _Work):
            found.run()
            del found  # its function and its result, which nobody else may need any more
            self._give_loop_a_turn()
        else:
            self._rest(found)
        # Looked at after the loop has run: that may have used up the wake-up of a stop().
        self._close_if_stopped()
        return True

    def _rest(self, wakeup: Wakeup) -> None:
        try:
            if isinstance(wakeup, LoopWakeup):
                wakeup.rest()
            else:
                wakeup.wait()
        finally:
            give_back_here(primitives, wakeup)

    def _give_loop_a_turn(self) -> None:
        """There may be work without end: background tasks go on between two pieces of it."""
        runner = None if self._seat is None else self._seat.runner
        if runner is not None and not runner.live.closing:
            runner.turn()

    def _close_if_stopped(self) -> None:
        runner = None if self._seat is None else self._seat.runner
        if runner is not None and runner.live.closing:
            runner.close()

    def _close_loop(self) -> None:
        runner = None if self._seat is None else self._seat.runner
        if runner is not None:
            runner.live.closing = True
            runner.close()


_pools: weakref.WeakSet[LoopThreadPoolExecutor] = weakref.WeakSet()


def threads_of_pool(pool: LoopThreadPoolExecutor) -> list[threading.Thread]:
    """The threads of a pool, for the library's own parts; none once it is shut down."""
    return pool.threads()


def shut_down_pools(deadline: Deadline) -> None:
    """At the process's exit: end the pools, whose threads do not keep the process alive."""
    workers = [worker for pool in list(_pools) for worker in pool.close()]
    for worker in workers:
        worker.join(deadline.left())


def forget_pools() -> None:
    """In a forked child: the threads are the parent's, and so is the loop of this one."""
    for pool in list(_pools):
        pool.inherit()
    _pools.clear()
