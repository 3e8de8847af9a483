"""Calls from many worker threads at once, each with a manager of its own or all with one."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import ExitStack, contextmanager
from functools import partial
from time import perf_counter

from benchmarks import contenders
from benchmarks.contenders import Contender
from benchmarks.effort import Effort
from benchmarks.timing import Call, Measure, Scenario, interleave
from benchmarks.work import nothing
from benchmarks.workers import worker_threads

WORKERS = 8
"""Worker threads that call at once."""

SET_UP = 60.0
"""Seconds in which all workers must be ready for the next window, or something hangs."""


class Crew:
    """Worker threads that all call in one way for a window of time; lives for one scenario.

    The thread that made it says for how long; `_begin` and `_end` let all threads into a window
    and out of it together, so between the two the fields below do not change.
    """

    def __init__(self, way: Contender, pool: Executor, size: int) -> None:
        self._way = way
        self._goes_on = True
        self._seconds = 0.0
        self._started = self._deadline = 0.0
        self._begin = threading.Barrier(size + 1, self._set_clock, SET_UP)
        self._end = threading.Barrier(size + 1, timeout=SET_UP)
        self._counts = [0] * size
        self._ends = [0.0] * size
        self._workers: list[Future[None]] = [
            pool.submit(self._work, place) for place in range(size)
        ]

    def _set_clock(self) -> None:
        # Runs in the last thread to arrive, before any of them goes on: one start for all.
        self._started = perf_counter()
        self._deadline = self._started + self._seconds

    def window(self, seconds: float) -> Sequence[float]:
        """Let all threads call for `seconds`; return the calls per second of all together."""
        self._seconds = seconds
        self._begin.wait()
        self._end.wait()
        return (sum(self._counts) / (max(self._ends) - self._started),)

    def dismiss(self) -> None:
        """End the work; raise what one of the threads raised."""
        self._goes_on = False
        try:
            self._begin.wait()
        except threading.BrokenBarrierError:
            pass  # A worker failed; its own error, below, is the one to see.
        errors = [error for worker in self._workers if (error := worker.exception())]
        errors.sort(key=lambda error: isinstance(error, threading.BrokenBarrierError))
        if errors:
            raise errors[0]

    def _work(self, place: int) -> None:
        try:
            with self._way.open(nothing) as call:
                self._begin.wait()
                while self._goes_on:
                    self._counts[place] = self._call_on(call)
                    self._ends[place] = perf_counter()
                    self._end.wait()
                    self._begin.wait()
        except BaseException:
            self._begin.abort()
            self._end.abort()
            raise

    def _call_on(self, call: Call) -> int:
        count, deadline = 0, self._deadline
        while perf_counter() < deadline:
            call()
            count += 1
        return count


@contextmanager
def crew(way: Contender, size: int) -> Iterator[Crew]:
    """Have `size` worker threads, each with a way set up, and end them."""
    with worker_threads(size, resident=way.resident) as pool:
        made = Crew(way, pool, size)
        try:
            yield made
        finally:
            made.dismiss()


def eight_threads(effort: Effort) -> Scenario:
    """Calls from eight worker threads at once: calls per second of all together."""
    with ExitStack() as stack:
        ours = stack.enter_context(contenders.manager())
        loop = stack.enter_context(contenders.background_loop())
        chosen = [
            *contenders.everyday(),
            Contender("process", "", partial(contenders.run_on, ours)),
            Contender("threadsafe_shared", "", partial(contenders.threadsafe_onto, loop)),
        ]
        crews = {each.key: stack.enter_context(crew(each, WORKERS)) for each in chosen}
        measures: dict[str, Measure] = {
            key: partial(each.window, effort.window) for key, each in crews.items()
        }
        return interleave(measures, "1/s", rounds=effort.windows)
