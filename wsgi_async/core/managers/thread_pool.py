"""A thread pool whose threads each have an event loop of their own."""

from __future__ import annotations

import itertools
import logging
import os
import threading
import weakref
from collections import deque
from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from wsgi_async.core.base.checks import check_count
from wsgi_async.core.base.log import report
from wsgi_async.core.base.primitives import ThreadWakeup, start_thread
from wsgi_async.core.runners.resident import Seat, take_seat, wakeup_here

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


class LoopThreadPoolExecutor(Executor):
    """A `concurrent.futures.Executor` whose threads each own an event loop.

    A loop lives on its thread: a function that the pool runs calls `run()` without handing the
    coroutine to another thread, and a thread with nothing to do waits inside its loop, where
    background tasks go on. While a function computes, its thread's loop stands still; when there
    is always something to do, the loop gets a turn between two functions.

    Threads start when they are needed, and live until `shutdown()` or the end of the process.
    Callable from any thread.

    Args:
        max_workers: How many threads there are at most.
        thread_name_prefix: What their names begin with.
        initializer: Called at the start of each thread.
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
        self._max_workers = max_workers
        self._prefix = thread_name_prefix or f"LoopThreadPoolExecutor-{next(_numbers)}"
        self._initializer = initializer
        self._initargs = initargs
        self._own_managers = own_managers
        self._options = options
        # Guards all below. Its thread can take it again: a signal handler may shut the pool down.
        self._lock = threading.RLock()
        self._work: deque[_Work] = deque()  # what no thread has taken yet
        self._idle: list[_Worker] = []  # the one that came last is the next to be woken
        self._workers: set[_Worker] = set()
        # Those that have not ended, also where the worker has left and closes its loop.
        self._threads: list[threading.Thread] = []
        self._shut_down = False
        _pools.add(self)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have a thread of the pool call a function.

        Raises:
            RuntimeError: The pool is shut down, or its first thread cannot be started.
        """
        work = _Work(fn, args, kwargs)
        with self._lock:
            if self._shut_down:
                raise RuntimeError("This pool is shut down. Make a new one.")
            self._work.append(work)
            worker = self._idle.pop() if self._idle else None
            if worker is None and len(self._workers) < self._max_workers:
                self._add_worker(work)
        if worker is not None:
            worker.wake()
        return work.future

    def _add_worker(self, work: _Work) -> None:
        """Start a thread. The caller holds the lock."""
        worker = _Worker(self, f"{self._prefix}_{len(self._workers)}")
        self._workers.add(worker)
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        try:
            self._threads.append(start_thread(worker.run, worker.name))
        except RuntimeError:
            self._workers.discard(worker)
            if not self._workers:
                self._work.remove(work)
                raise  # else another thread will come to it

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Refuse new work, do what is queued, close the loops and end the threads.

        Args:
            wait: Whether to wait for that.
            cancel_futures: Cancel what no thread has taken yet.
        """
        threads = self._close(cancel_futures=cancel_futures)
        if wait:
            for thread in threads:
                thread.join()

    def shutdown_within(self, deadline: Deadline) -> None:
        """At the process's exit: shut down, and wait no longer than that."""
        for thread in self._close(cancel_futures=False):
            thread.join(deadline.left())

    def _close(self, *, cancel_futures: bool) -> list[threading.Thread]:
        """Begin to shut down; returns the threads to wait for."""
        with self._lock:
            self._shut_down = True
            dropped = list(self._work) if cancel_futures else []
            if cancel_futures:
                self._work.clear()
            threads = list(self._threads)
            idle, self._idle = self._idle, []
        for work in dropped:
            work.future.cancel()
        for worker in idle:
            worker.wake()
        return [thread for thread in threads if thread is not threading.current_thread()]

    # -- for the workers -----------------------------------------------------------------------

    def enter_thread(self) -> None:
        """At the start of a thread: make its manager, and call the initializer."""
        if self._own_managers:
            manager = start_once(get_or_create_loop_manager(None, True, **self._options))
            lifecycle_of(manager).of_pool = True
        if self._initializer is not None:
            self._initializer(*self._initargs)

    def next_work(self, worker: _Worker) -> tuple[_Work | None, bool]:
        """What a thread does next: a piece of work, or wait, or end.

        Returns:
            The work if there is some, and whether the thread ends. Where neither is the case the
            thread is on the idle list, and is woken when there is something.
        """
        with self._lock:
            if self._work:
                return self._work.popleft(), False
            if self._shut_down:
                return None, True
            if worker not in self._idle:
                self._idle.append(worker)
            return None, False

    def leave(self, worker: _Worker, *, failed: bool) -> None:
        """A thread is at its end."""
        with self._lock:
            self._workers.discard(worker)
            if worker in self._idle:
                self._idle.remove(worker)
            lost = list(self._work) if failed and not self._workers else []
            if lost:
                self._work.clear()
        for work in lost:
            if work.future.set_running_or_notify_cancel():
                work.future.set_exception(
                    RuntimeError("The last thread of this pool has failed. The log has the reason.")
                )


class _Work:
    """One call of a function. Lives until it has an outcome."""

    def __init__(self, fn: Callable[..., Any], args: Any, kwargs: Any) -> None:
        self.future: Future[Any] = Future()
        self._call = (fn, args, kwargs)

    def run(self) -> None:
        """In a thread of the pool: call the function; raises nothing."""
        if not self.future.set_running_or_notify_cancel():
            return
        fn, args, kwargs = self._call
        try:
            result = fn(*args, **kwargs)
        except BaseException as error:
            self.future.set_exception(error)
            del self  # the traceback holds this frame: no cycle
        else:
            self.future.set_result(result)


class _Worker:
    """One thread of the pool, and its loop. Lives as long as the thread."""

    def __init__(self, pool: LoopThreadPoolExecutor, name: str) -> None:
        self._pool = pool
        self.name = name
        self._seat: Seat | None = None
        # While the thread is on the idle list, what wakes it; written before it goes on it.
        self._wakeup: Wakeup = ThreadWakeup()

    def wake(self) -> None:
        """There is something to do. From any thread."""
        self._wakeup.set()

    # -- in the thread -------------------------------------------------------------------------

    def run(self) -> None:
        """Do the pool's work until it is shut down; the thread's main function."""
        self._seat = take_seat()
        pid, failed = os.getpid(), True
        try:
            self._pool.enter_thread()
            while self._do_next() and os.getpid() == pid:
                self._look_after_loop()
            failed = False
        except BaseException as error:
            report(logging.CRITICAL, "the thread %s of a pool has failed", self.name, error=error)
        finally:
            if os.getpid() == pid:  # else somebody may have held the pool's lock at the fork
                self._pool.leave(self, failed=failed)
                self._close_loop()

    def _do_next(self) -> bool:
        self._wakeup = wakeup_here() or ThreadWakeup()
        work, ends = self._pool.next_work(self)
        if work is not None:
            work.run()
        elif not ends:
            self._wakeup.wait()
        return not ends

    def _look_after_loop(self) -> None:
        """Between two pieces of work: give the loop a turn, or close it if it was stopped."""
        runner = None if self._seat is None else self._seat.runner
        if runner is None:
            return
        if not runner.live.closing:
            runner.turn()
        # Looked at after the turn: that may have been the one that ends what the thread waits for.
        if runner.live.closing:
            runner.close()

    def _close_loop(self) -> None:
        runner = None if self._seat is None else self._seat.runner
        if runner is not None:
            runner.live.closing = True
            runner.close()


_pools: weakref.WeakSet[LoopThreadPoolExecutor] = weakref.WeakSet()


def threads_of_pool(pool: LoopThreadPoolExecutor) -> list[threading.Thread]:
    """The threads of a pool, for the library's own parts; none once it is shut down."""
    return [] if pool._shut_down else list(pool._threads)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]


def shut_down_pools(deadline: Deadline) -> None:
    """At the process's exit: end the pools, whose threads do not keep the process alive."""
    for pool in list(_pools):
        pool.shutdown_within(deadline)


def forget_pools() -> None:
    """In a forked child: the threads are the parent's."""
    _pools.clear()
