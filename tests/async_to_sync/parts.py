"""What the tests of `async_to_sync` are made of."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, TypeVar

import pytest
from asgiref.sync import sync_to_async

from tests.core.support import LIMIT, Worker
from wsgi_async import AsyncioLoopManager

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

MODES = ["keeper", "resident"]
"""Where the loop lives: on a thread of its own, or on the worker that calls."""

keeper_only = pytest.mark.parametrize("mode", ["keeper"], indirect=True)
resident_only = pytest.mark.parametrize("mode", ["resident"], indirect=True)


def worker_for(mode: str) -> Worker:
    """A worker thread whose first manager's loop lives there, or on a thread of its own."""
    return Worker(resident=mode == "resident")


def on_thread(mode: str, fn: Callable[[], T]) -> T:
    """Run a function in such a thread; return or raise what it did once that has ended."""
    with worker_for(mode) as worker:
        return worker.call(fn)


def make(loop: str = "asyncio", grace: float = 5.0) -> AsyncioLoopManager:
    """Start the manager that `async_to_sync` finds in the current thread."""
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if loop == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    manager = AsyncioLoopManager(loop_factory=factory, grace=grace)
    manager.start()
    return manager


def ident() -> int:
    """The thread that calls this."""
    return threading.get_ident()


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The loop that runs in this thread, if any."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


async def stepped_by() -> int:
    """The thread that steps this coroutine."""
    await asyncio.sleep(0)
    return ident()


async def own_loop() -> asyncio.AbstractEventLoop:
    """The loop that this coroutine runs on."""
    return asyncio.get_running_loop()


async def called_on() -> int:
    """The thread on which `sync_to_async` calls a function for this coroutine."""
    return await sync_to_async(ident)()


class Branches:
    """A sync function that waits for what another branch of its coroutine sets."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.event = threading.Event()
        self.stepped: list[int] = []

    def wait(self) -> bool:
        """Wait for the other branch."""
        self.began.set()
        return self.event.wait(LIMIT)

    async def set(self) -> None:
        """Let the function go on, as soon as it has begun."""
        while not self.began.is_set():
            await asyncio.sleep(0)
        self.event.set()

    async def both(self) -> bool:
        """Run both branches."""
        self.stepped.append(ident())
        waited, _ = await asyncio.gather(sync_to_async(self.wait)(), self.set())
        self.stepped.append(ident())
        return bool(waited)
