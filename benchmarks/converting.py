"""`async_to_sync`, ours and asgiref's, and what asgiref's `sync_to_async` costs inside of it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from itertools import repeat
from time import perf_counter_ns
from typing import Any

from asgiref.sync import async_to_sync as asgiref_async_to_sync
from asgiref.sync import sync_to_async

from benchmarks.effort import Effort
from benchmarks.timing import Measure, Scenario, batch, interleave
from benchmarks.work import noop
from benchmarks.workers import Worker, on_worker
from wsgi_async import async_to_sync

Way = Callable[[Callable[..., Coroutine[Any, Any, Any]]], Callable[..., Any]]
"""Makes a sync function of an async one."""

FAST = {"resident", "keeper"}
"""Ways of which many calls fit into a round."""


@contextmanager
def ways() -> Iterator[dict[str, Worker[Way]]]:
    """Have all ways set up, each on a worker thread of its own, by key."""
    # asgiref's own is not replaced here: that would be for the whole process.
    with ExitStack() as stack:
        enter = stack.enter_context
        yield {
            "resident": enter(on_worker(nullcontext(async_to_sync), resident=True)),
            "keeper": enter(on_worker(nullcontext(async_to_sync))),
            "asgiref": enter(on_worker(nullcontext(asgiref_async_to_sync))),
        }


def sync_noop() -> None:
    """Do nothing, in sync code."""


async def sync_calls(count: int) -> float:
    """Call sync code `count` times on the thread that waits; return the microseconds of one."""
    start = perf_counter_ns()
    for _ in repeat(None, count):
        await sync_to_async(sync_noop)()
    return (perf_counter_ns() - start) / count / 1000


def calling(way: Way, calls: int) -> Measure:
    """Measure calls of `async_to_sync(noop)()`: microseconds a call."""

    def call() -> None:
        way(noop)()

    return batch(call, calls)


def calling_back(way: Way, calls: int) -> Measure:
    """Measure calls of `sync_to_async(noop)()` in a row in one coroutine: microseconds a call."""

    def measure() -> Sequence[float]:
        return (way(sync_calls)(calls),)

    return measure


def calls_into_async(effort: Effort) -> Scenario:
    """Calls of `async_to_sync(noop)()`, back to back: microseconds a call."""
    with ways() as found:
        measures = {
            key: worker.measured(calling, effort.fast_calls if key in FAST else effort.slow_calls)
            for key, worker in found.items()
        }
        return interleave(measures, "us", rounds=effort.rounds)


def calls_back(effort: Effort) -> Scenario:
    """Calls of `sync_to_async(noop)()` inside of it: microseconds a call."""
    with ways() as found:
        measures = {
            key: worker.measured(calling_back, effort.fast_calls) for key, worker in found.items()
        }
        return interleave(measures, "us", rounds=effort.rounds)
