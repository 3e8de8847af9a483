"""Managers and coroutines for the tests of what runs a loop, and where the loop's thread is."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from tests.core.support import LIMIT, Worker
from wsgi_async import AsyncioLoopManager
from wsgi_async.core.managers.manager import lifecycle_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wsgi_async.core.base.primitives import Primitives

__all__ = [
    "LIMIT",
    "Door",
    "Plug",
    "Worker",
    "factory_of",
    "make",
    "started",
    "steps",
    "thread_of",
    "value",
]

T = TypeVar("T")


def make(primitives: Primitives | None = None, **options: Any) -> AsyncioLoopManager:
    """A started manager of the current thread, with primitives of the test's own if need be."""
    manager = AsyncioLoopManager(**options)
    if primitives is not None:
        life = lifecycle_of(manager)
        life._settings = replace(life._settings, primitives=primitives)
    manager.start()
    return manager


@contextmanager
def started(
    worker: Worker, primitives: Primitives | None = None, **options: Any
) -> Iterator[AsyncioLoopManager]:
    """A manager of a worker's thread, stopped at the end."""
    manager = worker.call(make, primitives, **options)
    try:
        yield manager
    finally:
        manager.stop(LIMIT / 2)
    assert manager.state == "stopped"


def factory_of(loop: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes the loops of this kind; uvloop is imported only where it is asked for."""
    if loop != "uvloop":
        return None
    import uvloop

    return uvloop.new_event_loop  # type: ignore[no-any-return, unused-ignore]


def thread_of(manager: AsyncioLoopManager) -> int:
    """The ident of the thread that the manager's loop lives on; from any other one."""

    async def ident() -> int:
        return threading.get_ident()

    loop = manager.get_event_loop()
    return asyncio.run_coroutine_threadsafe(ident(), loop).result(LIMIT)


async def value(result: T) -> T:
    """A coroutine that is done in its first step."""
    return result


async def steps(count: int = 5) -> list[int]:
    """The threads that take the steps of this coroutine, in order."""
    threads = [threading.get_ident()]
    for _ in range(count - 1):
        await asyncio.sleep(0)
        threads.append(threading.get_ident())
    return threads


class Door:
    """A coroutine waits at it, without blocking its loop, until a thread opens it."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._event: asyncio.Event | None = None

    async def walk(self) -> str:
        """Wait until it is open."""
        self._loop, self._event = asyncio.get_running_loop(), asyncio.Event()
        self.reached.set()
        await self._event.wait()
        return "through"

    def await_reached(self) -> None:
        """Block until the coroutine is at the door."""
        assert self.reached.wait(LIMIT)

    def open(self) -> None:
        """Let the coroutine through; from any thread."""
        assert self._loop is not None
        assert self._event is not None
        self._loop.call_soon_threadsafe(self._event.set)


class Plug:
    """A function that blocks whoever calls it, until it is pulled."""

    def __init__(self) -> None:
        self._reached = threading.Event()
        self._pulled = threading.Event()

    def __call__(self) -> None:
        self._reached.set()
        self._pulled.wait(LIMIT)

    def await_reached(self) -> None:
        """Block until somebody is blocked."""
        assert self._reached.wait(LIMIT)

    def pull(self) -> None:
        """Let it go on."""
        self._pulled.set()
