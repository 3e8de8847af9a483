"""A thread pool whose threads each have an event loop of their own."""

from __future__ import annotations

import itertools
import threading
import weakref
from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from wsgi_async.core.base.checks import check_count, refuse_async
from wsgi_async.core.base.settings import primitives
from wsgi_async.core.runners.crew import Crew, Work

from .current import start_once
from .manager import lifecycle_of
from .registry import get_or_create_loop_manager

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsgi_async.core.base.deadlines import Deadline

__all__ = [
    "LoopThreadPoolExecutor",
    "crew_of",
    "forget_pools",
    "shut_down_pools",
    "threads_of_pool",
]

P = ParamSpec("P")
T = TypeVar("T")

_numbers = itertools.count()


class LoopThreadPoolExecutor(Executor):
    """A `concurrent.futures.Executor` whose threads each own an event loop.

    Each loop lives on its thread. A function that the pool runs calls `run()`, and the coroutine
    runs on the same thread. A thread with nothing to do waits inside its loop, where background
    tasks continue. While a function computes, its thread's loop does not run. If the pool always
    has work, each loop gets a turn between two functions.

    Threads start when they are needed, and live until `shutdown()` or the end of the process.
    Callable from any thread.

    Args:
        max_workers: How many threads there are at most.
        thread_name_prefix: The prefix of the threads' names.
        initializer: Called at the start of each thread. If it raises, the thread ends; the work
            that waits for the last thread then fails.
        initargs: Arguments for the initializer.
        own_managers: Each thread makes its manager, without an id, when it starts. If False, a
            thread has no manager at first. The first manager that is started on the thread then
            lives on it.
        **options: Keyword arguments for `AsyncioLoopManager`, for example `loop_factory`.

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
        self._initializer = initializer
        self._initargs = initargs
        self._own_managers = own_managers
        self._options = options
        prefix = thread_name_prefix or f"LoopThreadPoolExecutor-{next(_numbers)}"
        self._crew = Crew(max_workers, prefix, self._begin, primitives)
        _pools.add(self)

    def _begin(self) -> None:
        """At the start of a thread: make its manager, and call the initializer."""
        if self._own_managers:
            manager = start_once(get_or_create_loop_manager(None, True, **self._options))
            lifecycle_of(manager).of_pool = True
        if self._initializer is not None:
            self._initializer(*self._initargs)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run a function on a thread of the pool.

        Raises:
            TypeError: The function is async.
            RuntimeError: The pool is shut down or the parent process's, or its first thread cannot
                be started.
        """
        refuse_async(fn, "Pass a sync function, which calls run().")
        work = Work(fn, args, kwargs)
        self._crew.submit(work)
        return work.future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Refuse new work, do what is queued, close the loops and end the threads.

        Args:
            wait: Whether to wait for that.
            cancel_futures: Cancel work that has not started.
        """
        workers = self._crew.close(cancel_futures=cancel_futures)
        if wait:
            for worker in workers:
                worker.join(None)


_pools: weakref.WeakSet[LoopThreadPoolExecutor] = weakref.WeakSet()


def crew_of(pool: LoopThreadPoolExecutor) -> Crew:
    """The crew of a pool, for the library's own parts."""
    return pool._crew  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]


def threads_of_pool(pool: LoopThreadPoolExecutor) -> list[threading.Thread]:
    """The threads of a pool that have not ended; none once it is shut down."""
    return crew_of(pool).threads()


def shut_down_pools(deadline: Deadline) -> None:
    """At the process's exit: end the pools, whose threads do not keep the process alive."""
    crews = [crew_of(pool) for pool in list(_pools)]
    workers = [worker for crew in crews for worker in crew.close(cancel_futures=False)]
    for worker in workers:
        worker.join(deadline.left())


def forget_pools() -> None:
    """In a forked child: the threads belong to the parent."""
    for pool in list(_pools):
        crew_of(pool).inherit()
    _pools.clear()
