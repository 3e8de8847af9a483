"""Worker threads: plain ones, and those that a loop can live on.

What is timed runs on one of them, never on the main thread, as in a server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import wraps
from typing import Concatenate, Generic, ParamSpec, TypeVar

from benchmarks.effort import Effort
from benchmarks.timing import Measure, Scenario
from wsgi_async import LoopThreadPoolExecutor

P = ParamSpec("P")
T = TypeVar("T")


@contextmanager
def worker_threads(count: int, *, resident: bool = False) -> Iterator[Executor]:
    """Have worker threads, and end them.

    Args:
        count: how many.
        resident: whether the first manager that is started on each lives on that thread.
    """
    pool = LoopThreadPoolExecutor(count, own_managers=False) if resident else _plain(count)
    with pool:
        yield pool


def _plain(count: int) -> Executor:
    return ThreadPoolExecutor(count, "worker")


class Worker(Generic[T]):
    """One worker thread with something that was set up on it. Lives as long as `on_worker()`.

    Args:
        pool: has the thread.
        ready: what was set up.
    """

    def __init__(self, pool: Executor, ready: T) -> None:
        self._pool = pool
        self.ready = ready

    def measured(
        self, make: Callable[Concatenate[T, P], Measure], *args: P.args, **kwargs: P.kwargs
    ) -> Measure:
        """Have something measured on the thread, whoever asks for it.

        Args:
            make: makes the measure, of what was set up and of what else it is given.
            *args: what else.
            **kwargs: what else.
        """
        measure = make(self.ready, *args, **kwargs)
        return lambda: self._pool.submit(measure).result()


@contextmanager
def on_worker(way: AbstractContextManager[T], *, resident: bool = False) -> Iterator[Worker[T]]:
    """Set something up on a worker thread of its own, and take it down there.

    Args:
        way: is entered and left on that thread.
        resident: see `worker_threads()`.
    """
    with worker_threads(1, resident=resident) as pool:
        ready = pool.submit(way.__enter__).result()
        try:
            yield Worker(pool, ready)
        finally:
            pool.submit(way.__exit__, None, None, None).result()


def on_a_worker_thread(measure: Callable[[Effort], Scenario]) -> Callable[[Effort], Scenario]:
    """Decorate a scenario to run as a whole on a plain worker thread."""

    @wraps(measure)
    def measured(effort: Effort) -> Scenario:
        with worker_threads(1) as pool:
            return pool.submit(measure, effort).result()

    return measured
