"""`async_to_sync`, ours and asgiref's, and what asgiref's `sync_to_async` costs inside of it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from itertools import repeat
from time import perf_counter_ns
from typing import Any

from asgiref.sync import async_to_sync as asgiref_async_to_sync
from asgiref.sync import sync_to_async

from benchmarks.calls import on_a_worker_thread
from benchmarks.contenders import noop
from benchmarks.effort import Effort
from benchmarks.timing import Measure, Scenario, batch, interleave
from wsgi_async import async_to_sync

Way = Callable[[Callable[..., Coroutine[Any, Any, Any]]], Callable[..., Any]]
"""Makes a sync function of an async one."""

# asgiref's own is not replaced here: that would be for the whole process.
WAYS: dict[str, Way] = {"ours": async_to_sync, "asgiref": asgiref_async_to_sync}
"""Contender's key: its `async_to_sync`."""


def sync_noop() -> None:
    """Do nothing, in sync code."""


async def sync_calls(count: int) -> float:
    """Call sync code `count` times on the thread that waits; return the microseconds of one."""
    start = perf_counter_ns()
    for _ in repeat(None, count):
        await sync_to_async(sync_noop)()
    return (perf_counter_ns() - start) / count / 1000


@on_a_worker_thread
def calls_into_async(effort: Effort) -> Scenario:
    """Calls of `async_to_sync(noop)()`, back to back: microseconds a call."""

    def call(way: Way) -> None:
        way(noop)()

    measures = {
        key: batch(partial(call, way), effort.fast_calls if key == "ours" else effort.slow_calls)
        for key, way in WAYS.items()
    }
    return interleave(measures, "us", rounds=effort.rounds)


@on_a_worker_thread
def calls_back(effort: Effort) -> Scenario:
    """Calls of `sync_to_async(noop)()` in a row in one coroutine: microseconds a call."""

    def measured(way: Way) -> Sequence[float]:
        return (way(sync_calls)(effort.fast_calls),)

    measures: dict[str, Measure] = {key: partial(measured, way) for key, way in WAYS.items()}
    return interleave(measures, "us", rounds=effort.rounds)
