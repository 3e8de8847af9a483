"""Calls from one worker thread: alone, under CPU-bound neighbours, after a pause, as a hop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial, wraps

from benchmarks import contenders
from benchmarks.contenders import Contender
from benchmarks.effort import Effort
from benchmarks.neighbours import cpu_bound_neighbours
from benchmarks.timing import Call, Scenario, batch, burst, interleave, latencies

PAUSE = 0.02
"""Seconds of rest or work before the first calls: longer than a manager's `linger`."""

BURST = 20
"""Calls in a row after work."""


def on_a_worker_thread(measure: Callable[[Effort], Scenario]) -> Callable[[Effort], Scenario]:
    """Decorate a scenario to run in a thread of its own: the main thread never drives a loop."""

    @wraps(measure)
    def measured(effort: Effort) -> Scenario:
        with ThreadPoolExecutor(1, "worker") as workers:
            return workers.submit(measure, effort).result()

    return measured


@contextmanager
def opened(chosen: Sequence[Contender]) -> Iterator[dict[str, Call]]:
    """Set up all of `chosen` in the current thread, and take them down in reverse order."""
    with ExitStack() as stack:
        yield {each.key: stack.enter_context(each.open()) for each in chosen}


@on_a_worker_thread
def alone(effort: Effort) -> Scenario:
    """Calls back to back with nothing else to do in the process: microseconds a call."""
    return back_to_back(contenders.without_asgiref() + contenders.with_idle_socket(), effort)


@on_a_worker_thread
def with_asgiref(effort: Effort) -> Scenario:
    """The same in a process that has imported asgiref: microseconds a call."""
    return back_to_back(contenders.everyday(), effort)


@on_a_worker_thread
def giving_way(effort: Effort) -> Scenario:
    """Calls back to back of a coroutine that awaits once: microseconds a call."""
    return back_to_back(contenders.giving_way(), effort)


@on_a_worker_thread
def uvloop(effort: Effort) -> Scenario:
    """The same on uvloop, where it is installed."""
    return back_to_back(contenders.on_uvloop(), effort)


def back_to_back(chosen: Sequence[Contender], effort: Effort) -> Scenario:
    """Measure batches of calls: microseconds a call."""
    with opened(chosen) as calls:
        measures = {
            each.key: batch(calls[each.key], effort.fast_calls if each.fast else effort.slow_calls)
            for each in chosen
        }
        return interleave(measures, "us", rounds=effort.rounds)


@on_a_worker_thread
def neighbours(effort: Effort) -> Scenario:
    """Calls while two threads compute without end: microseconds, each call for itself."""
    chosen = contenders.everyday() + contenders.with_idle_socket() + contenders.on_uvloop()
    with opened(chosen) as calls, cpu_bound_neighbours(2):
        measures = {
            each.key: latencies(
                calls[each.key], effort.latency_fast if each.fast else effort.latency_slow
            )
            for each in chosen
        }
        return interleave(measures, "us", rounds=effort.latency_rounds)


@on_a_worker_thread
def after_a_pause(effort: Effort) -> Scenario:
    """Single calls, each after a pause in which everything came to rest: microseconds.

    Requests do not come back to back. The pause itself is not timed.
    """
    return first_calls(effort, 1, partial(time.sleep, PAUSE))


@on_a_worker_thread
def after_work(effort: Effort) -> Scenario:
    """A few calls in a row after the thread has computed for a while: microseconds a call.

    As a view does that calls async code more than once. The work itself is not timed.
    """
    return first_calls(effort, BURST, compute)


def first_calls(effort: Effort, count: int, before: Call) -> Scenario:
    """Measure `count` calls after something that is not timed, for ways whose loop lives on."""
    chosen = contenders.without_asgiref()[:4] + contenders.with_idle_socket()
    with opened(chosen) as calls:
        measures = {each.key: burst(calls[each.key], count, before=before) for each in chosen}
        return interleave(measures, "us", rounds=effort.pauses)


def compute() -> None:
    """Keep this thread busy for a time, in pure Python."""
    end = time.perf_counter() + PAUSE
    while time.perf_counter() < end:
        pass


@on_a_worker_thread
def hop(effort: Effort) -> Scenario:
    """Calls while the keeper is busy with a tracked task all the time: microseconds a call."""
    return back_to_back(contenders.hops(), effort)
