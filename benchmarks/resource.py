"""What it costs to ask for a loop resource that is open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from functools import partial
from itertools import repeat
from time import perf_counter_ns
from typing import Any

from benchmarks import contenders
from benchmarks.effort import Effort
from benchmarks.timing import Measure, Scenario, interleave
from benchmarks.workers import on_a_worker_thread
from wsgi_async import loop_resource

Way = Callable[[int], Coroutine[Any, Any, float]]
"""Asks so many times; returns the nanoseconds of one."""

KEY = "client"

open_by_hand = {KEY: object()}
"""Where an application would keep what it has open, if it had one loop for good."""


async def look_up() -> object:
    """Find it in a dictionary: the least that an `await` can do."""
    return open_by_hand[KEY]


@loop_resource
async def resource() -> AsyncIterator[object]:
    """Have something open on each loop."""
    yield object()


by_loop: dict[asyncio.AbstractEventLoop, object] = {}
"""Where it would keep what it has open on each of its loops."""


async def look_up_by_loop() -> object:
    """Find what is open on the running loop: what a look-up by hand would have to do here."""
    return by_loop[asyncio.get_running_loop()]


# Three functions of the same text: in an application one place asks for one thing, and the
# interpreter specialises each place for what it meets there.


async def look_ups(count: int) -> float:
    """Look up in the dictionary `count` times; return the nanoseconds of one."""
    start = perf_counter_ns()
    for _ in repeat(None, count):
        await look_up()
    return (perf_counter_ns() - start) / count


async def look_ups_by_loop(count: int) -> float:
    """Look up by the running loop `count` times; return the nanoseconds of one."""
    by_loop[asyncio.get_running_loop()] = open_by_hand[KEY]
    start = perf_counter_ns()
    for _ in repeat(None, count):
        await look_up_by_loop()
    taken = perf_counter_ns() - start
    by_loop.clear()
    return taken / count


async def awaits(count: int) -> float:
    """Ask for the resource `count` times; return the nanoseconds of one."""
    start = perf_counter_ns()
    for _ in repeat(None, count):
        await resource()
    return (perf_counter_ns() - start) / count


@on_a_worker_thread
def open_resource(effort: Effort) -> Scenario:
    """Awaits in a row in one coroutine: nanoseconds each."""
    ways = {"look_up": look_ups, "by_loop": look_ups_by_loop, "resource": awaits}
    with contenders.manager() as ours:
        ours.run(awaits(1))  # opens it

        def measured(way: Way) -> Sequence[float]:
            return (ours.run(way(effort.awaits)),)

        measures: dict[str, Measure] = {key: partial(measured, way) for key, way in ways.items()}
        return interleave(measures, "ns", rounds=effort.rounds)
