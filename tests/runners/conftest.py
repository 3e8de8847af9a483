"""Every kind of loop on both runners, and managers that are stopped after the test."""

from __future__ import annotations

import asyncio
import gc
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from tests.runners.parts import Worker, started
from tests.runners.spies import SpyPrimitives

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wsgi_async import AsyncioLoopManager
    from wsgi_async.core.base.primitives import Primitives

    Factory = Callable[[], asyncio.AbstractEventLoop] | None


class Start(Protocol):
    """Starts a manager that belongs to the worker `own`."""

    def __call__(
        self, primitives: Primitives | None = None, **options: Any
    ) -> AsyncioLoopManager: ...


@pytest.fixture(scope="module", autouse=True)
def _collected() -> Iterator[None]:
    """What a module's tests leave to the collector speaks up here, not in the middle of others."""
    yield
    gc.collect()


@pytest.fixture(params=["keeper", "resident"])
def runner(request: pytest.FixtureRequest) -> str:
    """Where the loop lives: on a thread of the manager's own, or on the worker itself."""
    return str(request.param)


@pytest.fixture
def own(runner: str) -> Iterator[Worker]:
    """The thread that the managers belong to."""
    with Worker("own", resident=runner == "resident") as worker:
        yield worker


@pytest.fixture
def other() -> Iterator[Worker]:
    """Another thread."""
    with Worker("other") as worker:
        yield worker


@pytest.fixture(params=["ours", "asyncio", "uvloop"])
def loop_factory(request: pytest.FixtureRequest) -> Factory:
    """Our loop with the selector that has a look at times, asyncio's with its own, and uvloop's."""
    if request.param == "ours":
        return None
    if request.param == "asyncio":
        return asyncio.new_event_loop
    factory: Factory = pytest.importorskip("uvloop").new_event_loop
    return factory


@pytest.fixture
def spy() -> SpyPrimitives:
    """The real primitives, and what they have seen."""
    return SpyPrimitives()


@pytest.fixture
def start(own: Worker, loop_factory: Factory) -> Iterator[Start]:
    """Starts managers on every kind of loop, and stops them after the test."""
    with ExitStack() as managers:

        def start(primitives: Primitives | None = None, **options: Any) -> AsyncioLoopManager:
            options.setdefault("loop_factory", loop_factory)
            return managers.enter_context(started(own, primitives, **options))

        yield start
