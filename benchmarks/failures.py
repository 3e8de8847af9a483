"""What it costs when a coroutine fails, while thousands of tasks wait on the same loop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.contenders import manager
from benchmarks.effort import Effort
from benchmarks.timing import Scenario, batch, interleave
from benchmarks.work import give_way
from benchmarks.workers import on_a_worker_thread
from wsgi_async import AsyncioLoopManager

TASKS = 5_000
"""How many tasks wait: that many open streams or sessions, say, on one loop."""


async def fail() -> None:
    """Take one turn of the loop, as `give_way()` does, and raise."""
    await asyncio.sleep(0)
    raise LookupError


@contextmanager
def idle_tasks(ours: AsyncioLoopManager, count: int) -> Iterator[None]:
    """Have tasks wait on the manager's loop, and end them."""

    async def make_event() -> asyncio.Event:
        return asyncio.Event()

    over = ours.run(make_event())
    waiting = [ours.submit_task(_wait(over)) for _ in range(count)]
    try:
        yield
    finally:
        ours.get_event_loop().call_soon_threadsafe(over.set)
        for future in waiting:
            future.result()


async def _wait(over: asyncio.Event) -> None:
    await over.wait()


@on_a_worker_thread
def beside_idle_tasks(effort: Effort) -> Scenario:
    """Calls of a coroutine that returns, and of one that raises: microseconds a call."""
    with manager() as ours, idle_tasks(ours, TASKS):

        def returns() -> None:
            ours.run(give_way())

        def raises() -> None:
            try:
                ours.run(fail())
            except LookupError:
                pass

        ways = {"returns": returns, "raises": raises}
        measures = {key: batch(call, effort.slow_calls) for key, call in ways.items()}
        return interleave(measures, "us", rounds=effort.rounds)
