"""Calls from many worker threads at once, each with a manager and a loop of its own."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from time import perf_counter

from benchmarks import contenders
from benchmarks.calls import opened
from benchmarks.contenders import Contender
from benchmarks.effort import Effort
from benchmarks.timing import Call, Measure, Scenario, interleave

WORKERS = 8
"""Worker threads that call at once."""

SET_UP = 60.0
"""Seconds in which all workers must be ready for the next window, or something hangs."""


class Crew:
    """Worker threads that all call in the same way for a window of time; lives for one scenario.

    The thread that made it says which way and for how long; `_begin` and `_end` let all threads
    into a window and out of it together, so between the two the fields below do not change.
    """

    def __init__(self, chosen: Sequence[Contender], size: int) -> None:
        self._chosen = chosen
        self._key: str | None = None
        self._seconds = 0.0
        self._started = self._deadline = 0.0
        self._begin = threading.Barrier(size + 1, self._set_clock, SET_UP)
        self._end = threading.Barrier(size + 1, timeout=SET_UP)
        self._pool = ThreadPoolExecutor(size, "worker")
        self._counts = [0] * size
        self._ends = [0.0] * size
        self._workers: list[Future[None]] = [
            self._pool.submit(self._work, place) for place in range(size)
        ]

    def _set_clock(self) -> None:
        # Runs in the last thread to arrive, before any of them goes on: one start for all.
        self._started = perf_counter()
        self._deadline = self._started + self._seconds

    def window(self, key: str, seconds: float) -> Sequence[float]:
        """Let all threads call for `seconds`; return the calls per second of all together."""
        self._key, self._seconds = key, seconds
        self._begin.wait()
        self._end.wait()
        return (sum(self._counts) / (max(self._ends) - self._started),)

    def dismiss(self) -> None:
        """End the threads; raise what one of them raised."""
        self._key = None
        try:
            self._begin.wait()
        except threading.BrokenBarrierError:
            pass  # A worker failed; its own error, below, is the one to see.
        self._pool.shutdown()
        errors = [error for worker in self._workers if (error := worker.exception())]
        errors.sort(key=lambda error: isinstance(error, threading.BrokenBarrierError))
        if errors:
            raise errors[0]

    def _work(self, place: int) -> None:
        try:
            with opened(self._chosen) as calls:
                self._begin.wait()
                while self._key is not None:
                    self._counts[place] = self._call_on(calls[self._key])
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
def crew(chosen: Sequence[Contender], size: int) -> Iterator[Crew]:
    """Have `size` worker threads, each with all of `chosen` set up, and end them."""
    made = Crew(chosen, size)
    try:
        yield made
    finally:
        made.dismiss()


def eight_threads(effort: Effort) -> Scenario:
    """Calls from eight worker threads at once: calls per second of all together."""
    with contenders.background_loop() as loop:
        shared = Contender(
            "threadsafe_shared",
            "run_coroutine_threadsafe().result, one loop for all",
            partial(contenders.threadsafe_onto, loop),
        )
        chosen = [*contenders.everyday(), *contenders.with_idle_socket(), shared]
        with crew(chosen, WORKERS) as workers:
            measures: dict[str, Measure] = {
                each.key: partial(workers.window, each.key, effort.window) for each in chosen
            }
            return interleave(measures, "1/s", rounds=effort.windows)
