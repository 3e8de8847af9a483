"""Resources that say what becomes of them."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

from wsgi_async import loop_resource

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from wsgi_async import LoopResource


class Instance:
    """What the resources below open: knows its task and its loop."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.task = asyncio.current_task()
        self.loop = asyncio.get_running_loop()
        self.closed_by: asyncio.Task[Any] | None = None


class Diary:
    """Makes resources, and keeps what they did; those of several threads write into one list."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def resource(self, name: str, *uses: Callable[[], LoopResource[Any]]) -> LoopResource[Instance]:
        """A resource that uses others while it opens; given late, so that they can be circular."""

        async def opens() -> AsyncIterator[Instance]:
            for use in uses:
                await use()()
            await asyncio.sleep(0)
            instance = Instance(name)
            self.lines.append(f"open {name}")
            yield instance
            await asyncio.sleep(0)
            instance.closed_by = asyncio.current_task()
            self.lines.append(f"close {name}")

        opens.__qualname__ = name
        return loop_resource(opens)


class Gate:
    """Holds up an opening until it is let through; the loop and the test may be apart."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.times = 0
        self._through: asyncio.Future[None]

    async def hold(self) -> None:
        """Wait, on the loop."""
        self.times += 1
        self._through = asyncio.get_running_loop().create_future()
        self.entered.set()
        await self._through

    def let_through(self, error: BaseException | None = None) -> None:
        """Let the one that waits go on, or raise; from any thread."""
        self._through.get_loop().call_soon_threadsafe(self._let, error)

    def _let(self, error: BaseException | None) -> None:
        if error is None:
            self._through.set_result(None)
        else:
            self._through.set_exception(error)


class Unclosable:
    """A resource whose closing hangs, and perhaps resists being cancelled."""

    def __init__(self, *, resists: int = 0) -> None:
        self.resists = resists
        self.reached = threading.Event()
        self.cancelled = threading.Event()

    def resource(self) -> LoopResource[int]:
        """The resource."""

        async def unclosable() -> AsyncIterator[int]:
            yield 1
            self.reached.set()
            while True:
                try:
                    await asyncio.get_running_loop().create_future()
                except asyncio.CancelledError:
                    self.cancelled.set()
                    if not self.resists:
                        raise
                    self.resists -= 1

        unclosable.__qualname__ = "unclosable"
        return loop_resource(unclosable)
