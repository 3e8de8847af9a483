"""What an item costs on its way out of an async generator, from a worker thread."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from time import perf_counter_ns

from benchmarks import contenders
from benchmarks.effort import Effort
from benchmarks.timing import Measure, Scenario, interleave
from benchmarks.workers import Worker, on_worker
from wsgi_async import AsyncioLoopManager

AHEAD = 16
"""How many items the contender with `prefetch` may be ahead."""

Source = Callable[[int], AsyncGenerator[int, None]]
"""Makes an async generator of so many items."""

Consume = Callable[[AsyncGenerator[int, None]], int]
"""Takes all items of an async generator, and tells how many there were."""


async def ready(items: int) -> AsyncGenerator[int, None]:
    """Have each item at once."""
    for number in range(items):
        yield number


async def giving_way(items: int) -> AsyncGenerator[int, None]:
    """Let the loop take one more turn before each item, as a generator does that waits."""
    for number in range(items):
        await asyncio.sleep(0)
        yield number


def step(loop: asyncio.AbstractEventLoop, source: AsyncGenerator[int, None]) -> int:
    """Take each item with `run_until_complete(anext())`: what asyncio itself takes."""
    count = 0
    while True:
        try:
            loop.run_until_complete(anext(source))
        except StopAsyncIteration:
            return count
        count += 1


def iterate(
    manager: AsyncioLoopManager, source: AsyncGenerator[int, None], *, prefetch: int = 0
) -> int:
    """Take each item from `manager.iterate()`."""
    count = 0
    for _ in manager.iterate(source, prefetch=prefetch):
        count += 1
    return count


@contextmanager
def stepping() -> Iterator[Consume]:
    """Set up the one way in the current thread."""
    with closing(asyncio.new_event_loop()) as loop:
        yield partial(step, loop)


@contextmanager
def iterating(prefetch: int = 0) -> Iterator[Consume]:
    """Set up the other way in the current thread."""
    with contenders.manager() as ours:
        yield partial(iterate, ours, prefetch=prefetch)


@contextmanager
def ways() -> Iterator[dict[str, Worker[Consume]]]:
    """Have all ways to take the items set up, each on a worker thread of its own, by key."""
    with ExitStack() as stack:
        enter = stack.enter_context
        yield {
            "limit": enter(on_worker(stepping())),
            "resident": enter(on_worker(iterating(), resident=True)),
            "resident_prefetch": enter(on_worker(iterating(AHEAD), resident=True)),
            "keeper": enter(on_worker(iterating())),
            "keeper_prefetch": enter(on_worker(iterating(AHEAD))),
        }


def streamed(consume: Consume, source: Source, items: int) -> Measure:
    """Measure a stream of `items` items from its first to its end: microseconds an item."""

    def measure() -> Sequence[float]:
        stream = source(items)
        start = perf_counter_ns()
        count = consume(stream)
        taken = perf_counter_ns() - start
        if count != items:
            raise RuntimeError(f"{count} of {items} items came through.")
        return (taken / items / 1000,)

    return measure


def stream(effort: Effort) -> Scenario:
    """Items that are there at once: microseconds an item."""
    return side_by_side(ready, effort)


def stream_await(effort: Effort) -> Scenario:
    """Items that the generator awaits something for: microseconds an item."""
    return side_by_side(giving_way, effort)


def side_by_side(source: Source, effort: Effort) -> Scenario:
    """Measure the same generator in all ways: microseconds an item."""
    with ways() as found:
        measures = {
            key: worker.measured(streamed, source, effort.stream_items)
            for key, worker in found.items()
        }
        return interleave(measures, "us", rounds=effort.stream_rounds)
