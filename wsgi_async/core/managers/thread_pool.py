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
from wsgi_async.core.runners.resident import Seat, take_seat, wakeup_here

from .current import start_once
from .registry import get_or_create_loop_manager

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsgi_async.core.base.deadlines import Deadline
    from wsgi_async.core.base.primitives import Wakeup

__all__ = ["LoopThreadPoolExecutor", "forget_pools", "shut_down_pools"]

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
        # Never changes:
        self._max_workers = max_workers
        self._prefix = thread_name_prefix or f"LoopThreadPoolExecutor-{next(_numbers)}"
        self._initializer = initializer
        self._initargs = initargs
        self._own_managers = own_managers
        self._options = options
        self._primitives = primitives
        self._lock = primitives.mutex()
        # Guarded by `LoopThreadPoolExecutor._lock`:
        self._work: deque[_Work] = deque()  # what no thread has taken yet
        self._idle: list[_Worker] = []  # the one that came last is the next to be woken
        self._workers: set[_Worker] = set()
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
            missing = worker is None and len(self._workers) < self._max_workers
            started = self._add_worker() if missing else None
        if worker is not None:
            worker.wake()
        elif started is not None:
            self._start(started, work)
        return work.future

    def _add_worker(self) -> _Worker:
        worker = _Worker(self, f"{self._prefix}_{len(self._workers)}")
        self._workers.add(worker)
        return worker

    def _start(self, worker: _Worker, work: _Work) -> None:
        try:
            worker.thread = self._primitives.start_thread(worker.run, worker.name)
        except RuntimeError:
            with self._lock:
                self._workers.discard(worker)
                alone = not self._workers and work in self._work
                if alone:
                    self._work.remove(work)
            if alone:
                raise  # else another thread will come to it

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Refuse new work, do what is queued, close the loops and end the threads.

        Args:
            wait: Whether to wait for that.
            cancel_futures: Cancel what no thread has taken yet.
        """
        workers = self._close(cancel_futures=cancel_futures)
        if wait:
            for worker in workers:
                worker.join(None)

    def shutdown_within(self, deadline: Deadline) -> None:
        """At the process's exit: shut down, and wait no longer than that."""
        for worker in self._close(cancel_futures=False):
            worker.join(deadline.left())

    def _close(self, *, cancel_futures: bool) -> list[_Worker]:
        with self._lock:
            self._shut_down = True
            dropped = list(self._work) if cancel_futures else []
            if cancel_futures:
                self._work.clear()
            workers = list(self._workers)
            idle, self._idle = self._idle, []
        for work in dropped:
            work.future.cancel()
        for worker in idle:
            worker.wake()
        return workers

    # -- for the workers -----------------------------------------------------------------------

    def enter_thread(self) -> None:
        """At the start of a thread: make its manager, and call the initializer."""
        if self._own_managers:
            start_once(get_or_create_loop_manager(None, True, **self._options))
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
        # Never changes:
        self._pool = pool
        self.name = name
        # No lock: written by the thread that has started it.
        self.thread: threading.Thread | None = None
        # No lock: while the thread is on the idle list, what wakes it; written before that.
        self._wakeup: Wakeup = primitives.wakeup()
        # One thread, its own:
        self._seat: Seat | None = None

    def wake(self) -> None:
        """There is something to do. From any thread."""
        self._wakeup.set()

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
            while self._do_next():
                self._look_after_loop()
            failed = False
        except BaseException as error:
            report(logging.CRITICAL, "the thread %s of a pool has failed", self.name, error=error)
        finally:
            self._pool.leave(self, failed=failed)
            self._close_loop()

    def _do_next(self) -> bool:
        self._wakeup = wakeup_here() or primitives.wakeup()
        work, ends = self._pool.next_work(self)
        if work is not None:
            work.run()
        elif not ends:
            self._wakeup.wait()
        return not ends

    def _look_after_loop(self) -> None:
        """Between two pieces of work: give the loop a turn, or close it if it was stopped."""
        runner = None if self._seat is None else self._seat.runner
        if runner is not None:
            if runner.live.closing:
                runner.close()
            else:
                runner.turn()

    def _close_loop(self) -> None:
        runner = None if self._seat is None else self._seat.runner
        if runner is not None:
            runner.live.closing = True
            runner.close()


_pools: weakref.WeakSet[LoopThreadPoolExecutor] = weakref.WeakSet()


def shut_down_pools(deadline: Deadline) -> None:
    """At the process's exit: end the pools, whose threads do not keep the process alive."""
    for pool in list(_pools):
        pool.shutdown_within(deadline)


def forget_pools() -> None:
    """In a forked child: the threads are the parent's."""
    _pools.clear()
