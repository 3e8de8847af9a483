"""asyncio's own loop in the scheduler's hands: its blocking, its time, what comes from outside."""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING, Any

from wsgi_async.core.loops import WatchedSelector

from .parts import deadline_of, readable
from .steps import READ, WRITE

if TYPE_CHECKING:
    from .scheduler import Scheduler

__all__ = ["ControlledLoop", "ControlledSelector", "ForeignSelector"]


class ForeignSelector(selectors.DefaultSelector):
    """A selector that blocks in the scheduler. Of a loop that is not the library's own."""

    def __init__(self, scheduler: Scheduler) -> None:
        super().__init__()
        self._scheduler = scheduler
        self._readable = readable(self.fileno())

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout <= 0:
            self._scheduler.point(WRITE, "io", _always)
        else:
            deadline = deadline_of(self._scheduler, timeout)
            self._scheduler.point(WRITE, "io", self._readable, deadline)
        events = super().select(0)
        if not events:
            self._scheduler.amend(READ)  # it takes nothing away from who watches
        return events


class ControlledSelector(WatchedSelector, ForeignSelector):
    """The library's own selector; the blocking one under it is the scheduler's."""


class ControlledLoop(asyncio.SelectorEventLoop):
    """asyncio's loop on the scheduler's time. What comes from another thread is a step."""

    def __init__(self, scheduler: Scheduler, selector: ForeignSelector) -> None:
        self._scheduler = scheduler
        super().__init__(selector)

    def time(self) -> float:
        self._scheduler.touch(READ, "time")
        return self._scheduler.now

    def call_soon_threadsafe(self, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        self._scheduler.point(WRITE, "io")
        return super().call_soon_threadsafe(*args, **kwargs)

    def _write_to_self(self) -> None:
        # Not public, but here the callback is on the loop and its wake-up not yet on the way.
        self._scheduler.point(WRITE, "io")
        super()._write_to_self()  # type: ignore[misc]

    def stop(self) -> None:
        self._scheduler.touch(WRITE, "stop")
        super().stop()

    def close(self) -> None:
        self._scheduler.point(WRITE, "io")
        super().close()


def _always() -> bool:
    return True
