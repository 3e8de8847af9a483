"""Two worker threads, every kind of loop, and managers that are stopped after the test."""

from __future__ import annotations

import asyncio
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from tests.driver.parts import Worker, started
from tests.driver.seams import SpySeam

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wsgi_async.core.seam import Seam

    from wsgi_async import AsyncioLoopManager


class Start(Protocol):
    """Starts a manager that belongs to the worker `own`."""

    def __call__(self, seam: Seam | None = None, **options: Any) -> AsyncioLoopManager: ...


@pytest.fixture(autouse=True)
def nobody_forbids_driving() -> None:
    """A library that is loaded process-wide must not decide what these tests see."""
    assert not {"sqlalchemy.ext.asyncio", "greenback"} & set(sys.modules)


@pytest.fixture
def own() -> Iterator[Worker]:
    """The thread that the managers belong to."""
    worker = Worker("own")
    yield worker
    worker.end()


@pytest.fixture
def other() -> Iterator[Worker]:
    """Another thread."""
    worker = Worker("other")
    yield worker
    worker.end()


@pytest.fixture(params=["ours", "asyncio", "uvloop"])
def loop_factory(
    request: pytest.FixtureRequest,
) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Our loop with the selector that can be watched, asyncio's with its own, and uvloop's."""
    if request.param == "ours":
        return None
    if request.param == "asyncio":
        return asyncio.new_event_loop
    factory: Callable[[], asyncio.AbstractEventLoop] = pytest.importorskip("uvloop").new_event_loop
    return factory


@pytest.fixture
def seam() -> SpySeam:
    """The real seam, and what it has seen."""
    return SpySeam()


@pytest.fixture
def start(
    own: Worker, loop_factory: Callable[[], asyncio.AbstractEventLoop] | None
) -> Iterator[Start]:
    """Starts managers on every kind of loop, and stops them after the test."""
    with ExitStack() as managers:

        def start(seam: Seam | None = None, **options: Any) -> AsyncioLoopManager:
            options.setdefault("loop_factory", loop_factory)
            return managers.enter_context(started(own, seam, **options))

        yield start
