"""Calls from one worker thread: alone, beside a task, under CPU-bound neighbors, after a pause."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

from benchmarks import contenders
from benchmarks.contenders import Contender
from benchmarks.effort import Effort
from benchmarks.neighbours import cpu_bound_neighbours
from benchmarks.timing import Call, Scenario, batch, burst, interleave, latencies
from benchmarks.work import Setting, beside_task, nothing
from benchmarks.workers import Worker, on_worker

PAUSE = 0.02
"""Seconds of rest before a single call."""


@contextmanager
def opened(
    chosen: Sequence[Contender], setting: Setting = nothing
) -> Iterator[dict[str, Worker[Call]]]:
    """Set up all of `chosen`, each on a worker thread of its own, and take them down again."""
    with ExitStack() as stack:
        yield {
            each.key: stack.enter_context(on_worker(each.open(setting), resident=each.resident))
            for each in chosen
        }


def alone(effort: Effort) -> Scenario:
    """Calls back to back with nothing else to do in the process: microseconds a call."""
    return back_to_back(contenders.without_asgiref(), effort)


def beside_a_task(effort: Effort) -> Scenario:
    """The same while a task waits on the loop: microseconds a call."""
    return back_to_back(contenders.living(), effort, beside_task(nothing))


def with_asgiref(effort: Effort) -> Scenario:
    """The same in a process that has imported asgiref: microseconds a call."""
    return back_to_back(contenders.everyday(), effort)


def uvloop(effort: Effort) -> Scenario:
    """The same on uvloop, where it is installed."""
    return back_to_back(contenders.on_uvloop(), effort)


def back_to_back(
    chosen: Sequence[Contender], effort: Effort, setting: Setting = nothing
) -> Scenario:
    """Measure batches of calls: microseconds a call."""
    with opened(chosen, setting) as workers:
        measures = {
            each.key: workers[each.key].measured(
                batch, effort.fast_calls if each.fast else effort.slow_calls
            )
            for each in chosen
        }
        return interleave(measures, "us", rounds=effort.rounds)


def neighbours(effort: Effort) -> Scenario:
    """Calls while two threads compute without end: microseconds, each call for itself."""
    chosen = contenders.everyday() + contenders.on_uvloop()
    with opened(chosen) as workers, cpu_bound_neighbours(2):
        measures = {
            each.key: workers[each.key].measured(
                latencies, effort.latency_fast if each.fast else effort.latency_slow
            )
            for each in chosen
        }
        return interleave(measures, "us", rounds=effort.latency_rounds)


def after_a_pause(effort: Effort) -> Scenario:
    """Single calls, each after a pause in which all threads came to rest: microseconds.

    Requests do not come back to back. The pause itself is not timed.
    """
    with opened(contenders.living()) as workers:
        pause = partial(time.sleep, PAUSE)
        measures = {key: worker.measured(burst, 1, before=pause) for key, worker in workers.items()}
        return interleave(measures, "us", rounds=effort.pauses)
