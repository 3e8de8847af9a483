"""Jobs for RQ, in a module that its workers can import."""

from __future__ import annotations

import asyncio

from examples.queues.rq_jobs import ask
from wsgi_async import AsyncioLoopManager, run


def closing(product: int) -> str:
    """A loop of its own, with all that is open on it, ends with the job."""
    with AsyncioLoopManager() as loop:
        return loop.run(ask(product))


async def _wait() -> None:
    try:
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(0.01)
        print("cleaned up", flush=True)


def slow() -> None:
    """Longer than its limit."""
    run(_wait())


async def where() -> int:
    return id(asyncio.get_running_loop())


def loop() -> int:
    """Which loop it is on."""
    return run(where())
