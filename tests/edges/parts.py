"""Places to call a manager from, and small things that several files need."""

from __future__ import annotations

import gc
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from tests.core.support import Worker, wait_until
from wsgi_async import AsyncioLoopManager

if TYPE_CHECKING:
    import weakref
    from collections.abc import Callable, Iterator

T = TypeVar("T")

PLACES = ["main thread", "worker", "other thread"]
"""Where a call comes from: the main thread or a worker, whose manager it is, or any other."""

QUICK = 0.05
"""Seconds of a timeout that is meant to pass."""


class Call:
    """A started manager and the thread that calls it. Lives in a `with` block."""

    def __init__(self, manager: AsyncioLoopManager, worker: Worker | None) -> None:
        self.manager = manager
        self._worker = worker

    def __call__(self, fn: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Call a function in the thread."""
        if self._worker is None:
            return fn(*args, **kwargs)
        return self._worker.call(fn, *args, **kwargs)


@contextmanager
def calling_from(place: str, **options: Any) -> Iterator[Call]:
    """A started manager, called from one of the `PLACES`; stopped at the end."""
    worker = None if place == "main thread" else Worker()
    manager = worker.call(start, **options) if worker and place == "worker" else start(**options)
    try:
        yield Call(manager, worker)
    finally:
        manager.stop(5)
        if worker is not None:
            worker.end()


def start(**options: Any) -> AsyncioLoopManager:
    """A started manager of the current thread."""
    manager = AsyncioLoopManager(**options)
    manager.start()
    return manager


def await_stopped(manager: AsyncioLoopManager) -> None:
    """Wait until a manager that is told to stop has stopped."""
    wait_until(lambda: manager.state == "stopped", "the manager is stopped")


def make_loop_factory(loop: str) -> Any:
    """What a manager takes to have a loop of this kind: asyncio's or uvloop's."""
    if loop == "asyncio":
        return None
    import uvloop

    return uvloop.new_event_loop


def is_gone(reference: weakref.ref[Any], *, within: float) -> bool:
    """Whether an object dies within so many seconds; the collector has a look too."""
    deadline = time.monotonic() + within
    while reference() is not None:
        if time.monotonic() > deadline:
            return False
        gc.collect()
        time.sleep(0.01)
    return True
