"""The async generators that the tests iterate over."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from typing import TYPE_CHECKING, Any

from wsgi_async.core.managers.manager import lifecycle_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from wsgi_async import AsyncioLoopManager

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


class Numbers:
    """An async generator, and what is known of the tasks, threads and contexts that stepped it.

    Args:
        count: How many numbers it yields, from 0.
        error: What it raises after them.
        stall_at: The number before which it waits for `go_on()`.
    """

    def __init__(
        self, count: int = 10, *, error: BaseException | None = None, stall_at: int | None = None
    ) -> None:
        self.count, self.error, self.stall_at = count, error, stall_at
        self.tasks: set[asyncio.Task[Any] | None] = set()
        self.threads: list[int] = []
        self.seen: list[str] = []
        self.made = 0
        self.stalled = threading.Event()
        self.closed = threading.Event()
        self.ended_by: BaseException | None = None
        self._gate: asyncio.Event
        self._loop: asyncio.AbstractEventLoop

    async def walk(self) -> AsyncIterator[int]:
        try:
            for number in range(self.count):
                await self._step(number)
                yield number
            if self.error is not None:
                raise self.error
        except BaseException as error:
            self.ended_by = error
            raise
        finally:
            await asyncio.sleep(0)
            self.note()
            self.closed.set()

    async def _step(self, number: int) -> None:
        self.note()
        await asyncio.sleep(0)
        self.note()
        if number == self.stall_at:
            self._gate, self._loop = asyncio.Event(), asyncio.get_running_loop()
            self.stalled.set()
            await self._gate.wait()
        self.made += 1

    def note(self) -> None:
        """Remember who is stepping it."""
        self.tasks.add(asyncio.current_task())
        self.threads.append(threading.get_ident())
        self.seen.append(variable.get())

    def go_on(self) -> None:
        """Let it go on; from any thread."""
        self._loop.call_soon_threadsafe(self._gate.set)


async def ident() -> int:
    """The thread that steps this coroutine."""
    return threading.get_ident()


def open_on(manager: AsyncioLoopManager) -> int:
    """How many calls are in flight on a manager, or open between two calls."""
    runner = lifecycle_of(manager).runner
    assert runner is not None
    return len(runner.live.in_flight()) + len(runner.live.actors)


async def fail_when_cancelled() -> None:
    """A task without an end, whose cleanup fails."""
    try:
        await asyncio.Event().wait()
    finally:
        raise OSError("the child's")
