"""A manager that is stopped by a coroutine on its own loop, in another thread as the error says."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest
from asgiref.sync import sync_to_async

from tests.core.support import Endless, Worker, our_log, outcome, reached
from tests.edges.parts import await_stopped
from wsgi_async import loop_resource

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.core.conftest import MakeManager

    Stop = Callable[[], None]

SOON = 4.0
"""Seconds within which the stop is over; one that waits for itself takes all of its ten."""


async def in_executor(stop: Stop) -> None:
    await asyncio.get_running_loop().run_in_executor(None, stop)


async def in_task(stop: Stop) -> None:
    await asyncio.gather(asyncio.create_task(asyncio.to_thread(stop)))


async def shielded(stop: Stop) -> None:
    await asyncio.shield(asyncio.to_thread(stop))


WAYS: dict[str, Callable[[Stop], Awaitable[None]]] = {
    "to_thread": asyncio.to_thread,
    "run_in_executor": in_executor,
    "a task of its own": in_task,
    "shielded": shielded,
    "the calling thread": lambda stop: sync_to_async(stop)(),
    "any thread": lambda stop: sync_to_async(stop, thread_sensitive=False)(),
}
"""How a coroutine calls `stop()` without blocking its loop."""


@pytest.mark.parametrize(
    ("way", "how"),
    [
        *((way, "run") for way in WAYS),
        # Nobody's thread waits for what is submitted.
        *((way, "submit_task") for way in WAYS if way != "the calling thread"),
    ],
)
def test_it_does_not_wait_for_itself(
    way: str,
    how: str,
    make_manager: MakeManager,
    worker: Worker,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """`await asyncio.to_thread(manager.stop)` stops the manager at once, and nothing is late."""
    closed: list[str] = []

    @loop_resource
    async def resource() -> AsyncIterator[None]:
        yield
        await asyncio.sleep(0)
        closed.append("closed")

    manager, endless = worker.call(make_manager), Endless()
    loop = manager.get_event_loop()
    resource.get(manager)
    manager.submit_task(endless.wait())
    reached(endless.began)

    async def stop() -> None:
        await WAYS[way](manager.stop)

    began = time.monotonic()
    if how == "run":
        with pytest.raises(RuntimeError, match="stop"):
            outcome(worker.begin(manager.run, stop()))
    else:
        worker.call(manager.submit_task, stop())
    await_stopped(manager)
    assert time.monotonic() - began < SOON
    assert endless.cleaned.is_set()
    assert closed == ["closed"]
    assert loop.is_closed()
    assert our_log(caplog) == []
