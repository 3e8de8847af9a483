"""A worker thread as a server's, and managers that live beside it or on it."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Protocol

import pytest

from tests.async_to_sync.parts import MODES, make, worker_for
from tests.core.conftest import needs_uvloop, running
from tests.core.support import LIMIT, wait_until
from wsgi_async import ManagerNotFound, get_or_create_loop_manager

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.core.support import Worker
    from wsgi_async import AsyncioLoopManager


class Start(Protocol):
    """Starts the manager that `async_to_sync` uses in the worker thread."""

    def __call__(self, *, grace: float = 5.0) -> AsyncioLoopManager: ...


@pytest.fixture(scope="module", autouse=True)
def _nothing_to_inherit() -> None:
    """Other tests may have left a manager in the main thread, which its threads would use."""
    with contextlib.suppress(ManagerNotFound):
        get_or_create_loop_manager(strictly_get=True).stop()


@pytest.fixture(autouse=True)
def _nothing_stays_behind() -> Iterator[None]:
    """A thread's own managers end with it."""
    earlier = running()
    yield
    wait_until(lambda: not running() - earlier, "a manager runs on")


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    """Whether the loop lives on a thread of its own, or on the worker that calls."""
    name: str = request.param
    return name


@pytest.fixture
def worker(_nothing_stays_behind: None, mode: str) -> Iterator[Worker]:
    """A worker thread, which ends with the test."""
    with worker_for(mode) as one:
        yield one


@pytest.fixture(params=["asyncio", pytest.param("uvloop", marks=needs_uvloop)])
def loop(request: pytest.FixtureRequest) -> str:
    """Which kind of loop the manager has."""
    name: str = request.param
    return name


@pytest.fixture
def start(worker: Worker, loop: str) -> Iterator[Start]:
    """Starts managers for the worker; they are stopped after the test."""
    made: list[AsyncioLoopManager] = []

    def start(*, grace: float = 5.0) -> AsyncioLoopManager:
        manager = worker.call(make, loop, grace)
        made.append(manager)
        return manager

    yield start
    for manager in made:
        manager.stop(LIMIT)
    assert threading.current_thread() is threading.main_thread()
