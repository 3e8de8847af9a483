"""What the core's tests share: a manager on either loop and runner, and a look at what is left."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import inspect
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.core import support
from tests.core.support import LIMIT, Worker
from wsgi_async import AsyncioLoopManager

LoopFactory = Callable[[], asyncio.AbstractEventLoop]
MakeManager = Callable[..., AsyncioLoopManager]

needs_uvloop = pytest.mark.skipif(
    importlib.util.find_spec("uvloop") is None, reason="uvloop is not installed"
)


def running() -> set[AsyncioLoopManager]:
    """The managers that have a loop; those of the middleware's tests live in the main thread."""
    managers = AsyncioLoopManager.all_instances()
    return {one for one in managers if one.state in ("running", "stopping")}


@pytest.fixture(autouse=True)
def _nothing_stays_behind() -> Iterator[None]:
    """Every thread that a test started ends by itself, and no manager runs on."""
    before, earlier = set(threading.enumerate()), running()
    yield
    for thread in set(threading.enumerate()) - before:
        # A dummy stands for a thread that threading did not start; nobody ever removes it.
        assert not isinstance(thread, threading._DummyThread), thread
        if thread.name == "wsgi_async reuse":
            continue  # one for the process, to its end
        thread.join(LIMIT)
        assert not thread.is_alive(), thread
    assert not running() - earlier


@pytest.fixture(scope="module", autouse=True)
def _collected() -> Iterator[None]:
    """What a module's tests leave to the collector speaks up here, not in the middle of others."""
    yield
    gc.collect()


@pytest.fixture(params=["asyncio", pytest.param("uvloop", marks=needs_uvloop)])
def loop_factory(request: pytest.FixtureRequest) -> LoopFactory | None:
    """The manager's own choice of a loop, and uvloop's."""
    if request.param == "asyncio":
        return None
    import uvloop

    return uvloop.new_event_loop


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test on both runners where the manager of its own thread is used, or it asks for it."""
    asked = "runner" in inspect.signature(metafunc.function).parameters
    if "runner" in metafunc.fixturenames and (
        asked or getattr(metafunc.function, "on_both_runners", False)
    ):
        metafunc.parametrize("runner", ["keeper", "resident"], indirect=True)


@pytest.fixture(autouse=True)
def runner(request: pytest.FixtureRequest) -> Iterator[str]:
    """What runs the loop of a manager that the test's own thread makes.

    A "keeper", or, as that thread is one of a `LoopThreadPoolExecutor`, the thread itself: the
    loop is "resident" there.
    """
    support.runner = getattr(request, "param", "keeper")
    yield support.runner
    support.runner = "keeper"


@pytest.fixture
def make_manager(loop_factory: LoopFactory | None) -> Iterator[MakeManager]:
    """Makes a started manager for the calling thread; it is stopped after the test."""
    made: list[AsyncioLoopManager] = []

    def make(id: Any = None, *, task_type: Any = None, **options: Any) -> AsyncioLoopManager:
        manager = AsyncioLoopManager(id, **{"loop_factory": loop_factory, **options})
        made.append(manager)
        manager.start(task_type)
        return manager

    yield make
    for manager in made:
        manager.stop(LIMIT)


@pytest.fixture
def worker() -> Iterator[Worker]:
    """A worker thread, which ends with the test."""
    with Worker(resident=support.runner == "resident") as one:
        yield one


@pytest.fixture
def busy_switching() -> Iterator[None]:
    """The interpreter goes from one thread to another as often as it can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)
