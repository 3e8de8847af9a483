"""asyncio's own loop in the scheduler's hands: its blocking, its time, what comes from outside."""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING, Any

from wsgi_async.core.loops.selector import WatchedSelector

from .parts import deadline_of, readable
from .steps import READ, WRITE

if TYPE_CHECKING:
    from .scheduler import Scheduler
    from .steps import Fibre

__all__ = ["ControlledLoop", "ControlledTask", "make_loop"]


class _ForeignSelector(selectors.DefaultSelector):
    """A selector that blocks in the scheduler. Of a loop that is not the library's own."""

    scheduler: Scheduler
    io: str
    """What the scheduler calls what is sent to the loop."""
    _readable: Any = None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout <= 0:
            self.scheduler.point(WRITE, self.io, _always)
        else:
            if self._readable is None:
                self._readable = readable(self.fileno())
            deadline = deadline_of(self.scheduler, timeout)
            self.scheduler.point(WRITE, self.io, self._readable, deadline)
        events = super().select(0)
        if not events:
            self.scheduler.amend(READ)  # it takes nothing away from those who send
        return events


class _Selector(WatchedSelector, _ForeignSelector):
    """The library's own selector; the blocking one under it is the scheduler's."""


class ControlledTask(asyncio.Task[Any]):
    """A task; a set of them is in the same order each time."""

    def __init__(self, coro: Any, *, loop: ControlledLoop, **options: Any) -> None:
        loop.tasks += 1
        self._number = loop.tasks
        super().__init__(coro, loop=loop, **options)

    def __hash__(self) -> int:
        return self._number


class ControlledLoop(asyncio.SelectorEventLoop):
    """asyncio's loop on the scheduler's time. What comes from another thread is a step."""

    def __init__(self, scheduler: Scheduler, name: str, selector: _ForeignSelector) -> None:
        self.name = name
        self.tasks = 0  # so many have been made
        self.home: Fibre | None = None  # the first thread that was seen on it
        self._scheduler = scheduler
        selector.scheduler, selector.io = scheduler, f"io of {name}"
        self._io = selector.io
        super().__init__(selector)

    def time(self) -> float:
        self._scheduler.touch(READ, "time")
        return self._scheduler.now

    def call_soon_threadsafe(self, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        self._scheduler.point(WRITE, self._io)
        return super().call_soon_threadsafe(*args, **kwargs)

    def _write_to_self(self) -> None:
        # Not public, but here the callback is on the loop and its wake-up not yet on the way.
        self._scheduler.point(WRITE, self._io)
        super()._write_to_self()  # type: ignore[misc]

    def create_task(self, coro: Any, **options: Any) -> ControlledTask:
        return ControlledTask(coro, loop=self, **options)

    def stop(self) -> None:
        self._scheduler.touch(WRITE, f"stop of {self.name}")
        super().stop()

    def close(self) -> None:
        self._scheduler.point(WRITE, self._io)
        super().close()


def make_loop(
    scheduler: Scheduler, name: str, *, ours: bool
) -> tuple[ControlledLoop, WatchedSelector | None]:
    """A loop, and its selector where it is the library's own."""
    if ours:
        selector = _Selector()
        return ControlledLoop(scheduler, name, selector), selector
    return ControlledLoop(scheduler, name, _ForeignSelector()), None


def _always() -> bool:
    return True
