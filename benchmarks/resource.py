"""What it costs to ask for a loop resource that is open."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from itertools import repeat
from time import perf_counter_ns

from benchmarks import contenders
from benchmarks.calls import on_a_worker_thread
from benchmarks.effort import Effort
from benchmarks.timing import Measure, Scenario, interleave
from wsgi_async import loop_resource

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


# Two functions of the same text: in an application one place asks for one thing, and the
# interpreter specialises each place for what it meets there.


async def look_ups(count: int) -> float:
    """Look up in the dictionary `count` times; return the nanoseconds of one."""
    start = perf_counter_ns()
    for _ in repeat(None, count):
        await look_up()
    return (perf_counter_ns() - start) / count


async def awaits(count: int) -> float:
    """Ask for the resource `count` times; return the nanoseconds of one."""
    start = perf_counter_ns()
    for _ in repeat(None, count):
        await resource()
    return (perf_counter_ns() - start) / count


@on_a_worker_thread
def open_resource(effort: Effort) -> Scenario:
    """Awaits in a row in one coroutine: nanoseconds each."""
    with contenders.manager() as ours:
        ours.run(awaits(1))  # opens it

        def by_look_up() -> Sequence[float]:
            return (ours.run(look_ups(effort.awaits)),)

        def by_resource() -> Sequence[float]:
            return (ours.run(awaits(effort.awaits)),)

        measures: dict[str, Measure] = {"look_up": by_look_up, "resource": by_resource}
        return interleave(measures, "ns", rounds=effort.rounds)
