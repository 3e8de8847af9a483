"""The snapshot: what each loop is doing, in plain data."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import types
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any
from wsgiref.util import setup_testing_defaults

import pytest

from tests.core.support import LIMIT, Worker
from wsgi_async import AsyncioLoopManager, AsyncLoopMiddleware, loop_from, loop_resource
from wsgi_async.insight.snapshot import Manager, Task, take_snapshot

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator, Iterator
    from concurrent.futures import Future
    from wsgiref.types import StartResponse, WSGIEnvironment


class Held:
    """A coroutine that waits until it is let go."""

    def __init__(self) -> None:
        self.waiting = threading.Event()
        self._go = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def outer(self) -> None:
        await self.inner()

    async def inner(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.call_soon(self.waiting.set)
        await self._go.wait()

    def let_go(self) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._go.set)


def found(manager: AsyncioLoopManager) -> Manager:
    """The snapshot's view of a manager, which JSON can carry."""
    snapshot = json.loads(json.dumps(take_snapshot()))
    assert snapshot["pid"] == os.getpid()
    assert snapshot["parent"] == os.getppid()
    (one,) = (each for each in snapshot["managers"] if each["id"] == repr(manager.id))
    view: Manager = one
    return view


def seen(manager: AsyncioLoopManager, held: Held, call: Future[Any]) -> Task:
    """The one task of a manager while it is held in a call, which then ends."""
    assert held.waiting.wait(LIMIT)
    (task,) = found(manager)["tasks"]
    held.let_go()
    call.result(LIMIT)
    return task


def functions_of(task: Task) -> list[str]:
    """The functions of the lines where a task waits, the outermost first."""
    return [frame["function"].rpartition(".")[2] for frame in task["awaits"]]


@contextmanager
def submitted(manager: AsyncioLoopManager) -> Iterator[None]:
    """While a background task waits."""
    held = Held()
    future = manager.submit_task(held.outer())
    assert held.waiting.wait(LIMIT)
    try:
        yield
    finally:
        held.let_go()
        future.result(LIMIT)


def test_a_task_and_where_it_waits() -> None:
    """A background task is shown with its age and the coroutines that it awaits, in order."""
    with AsyncioLoopManager("snapshot") as manager, submitted(manager):
        view = found(manager)
    (task,) = view["tasks"]
    assert task["name"].endswith("outer")
    assert functions_of(task)[:3] == ["outer", "inner", "wait"]
    assert task["awaits"][0]["file"] == __file__
    assert task["age"] is not None
    assert task["age"] >= 0
    assert (task["request"], task["waiter"]) == (None, None)


def test_a_generator_that_is_awaited() -> None:
    """A generator that `types.coroutine` makes awaitable is shown with what it waits for."""
    held = Held()

    @types.coroutine
    def older() -> Any:
        yield from held.inner()  # it may, as it is decorated

    async def newer() -> None:
        await older()

    with AsyncioLoopManager("snapshot") as manager:
        future = manager.submit_task(newer())
        task = seen(manager, held, future)
    assert functions_of(task)[:3] == ["newer", "older", "inner"]


def test_a_manager_and_its_threads() -> None:
    """A manager is shown with its state, the thread of its loop, and the threads above it."""
    with Worker("worker-7") as worker:
        manager = AsyncioLoopManager("snapshot")
        worker.call(manager.__init__, "snapshot")  # type: ignore[misc] # belongs to that thread
        worker.call(manager.start, "kind")
        view = found(manager)
        assert (view["state"], view["task_type"], view["runner"]) == ("running", "'kind'", "keeper")
        assert view["lineage"] == ["worker-7", threading.current_thread().name]
        assert view["thread"] in {thread.name for thread in threading.enumerate()}
        assert view["lag"] is not None
        assert view["stack"] == []
        manager.stop()
    assert repr(manager.id) not in {one["id"] for one in take_snapshot()["managers"]}


def test_a_thread_that_waits() -> None:
    """A call of `run()` is shown with the thread that blocks until it is done."""
    held = Held()
    with AsyncioLoopManager("snapshot") as manager, Worker("worker-8") as worker:
        call = worker.begin(manager.run, held.outer())
        task = seen(manager, held, call)
    assert task["waiter"] == "worker-8"


def test_a_stream_whose_item_a_thread_waits_for() -> None:
    """The stream is shown with its waiting thread and the line of the generator, beside others."""
    held = Held()

    async def rows() -> AsyncIterator[int]:
        await held.inner()
        yield 1

    with AsyncioLoopManager("snapshot") as manager, Worker("worker-9") as worker:
        items = manager.iterate(rows())
        call = worker.begin(next, items)
        task = seen(manager, held, call)
        assert call.result(LIMIT) == 1
        items.close()
    assert task["name"].endswith("rows")
    assert task["waiter"] == "worker-9"
    assert task["age"] is not None
    assert functions_of(task)[-3:] == ["rows", "inner", "wait"]


def test_a_context_manager_that_a_thread_enters() -> None:
    """It is shown with the request's thread and the line at which it is entered."""
    held = Held()

    @asynccontextmanager
    async def entered() -> AsyncIterator[int]:
        await held.inner()
        yield 1

    with AsyncioLoopManager("snapshot") as manager, Worker("worker-9") as worker:
        wrapped = manager.wrap_async_context_manager(entered)
        call = worker.begin(wrapped.__enter__)
        task = seen(manager, held, call)
        assert call.result(LIMIT) == 1
        wrapped.__exit__(None, None, None)
    assert task["waiter"] == "worker-9"
    assert functions_of(task)[-3:] == ["entered", "inner", "wait"]


@pytest.mark.parametrize("default", [(), (None,)])
def test_an_async_generator_that_a_coroutine_waits_for(default: tuple[None, ...]) -> None:
    """`async for` and `anext()` are shown with the line at which the generator waits."""
    held = Held()

    async def rows() -> AsyncIterator[int]:
        await held.inner()
        yield 1

    async def view() -> None:
        await anext(rows(), *default)

    with AsyncioLoopManager("snapshot") as manager:
        future = manager.submit_task(view())
        task = seen(manager, held, future)
    assert functions_of(task)[:4] == ["view", "rows", "inner", "wait"]


def test_a_clients_own_awaitable() -> None:
    """An object with an `__await__()` of its own is shown with the coroutine behind it."""
    held = Held()

    class Request:
        def __await__(self) -> Generator[Any, None, None]:
            return held.inner().__await__()

    class Rows:
        async def __anext__(self) -> int:
            await Request()
            return 1

    async def view() -> None:
        await anext(Rows(), None)

    with AsyncioLoopManager("snapshot") as manager:
        future = manager.submit_task(view())
        task = seen(manager, held, future)
    assert functions_of(task)[:4] == ["view", "__anext__", "inner", "wait"]


def test_a_loop_that_stands_still() -> None:
    """A blocked loop is shown with the line that blocks it, and with its tasks all the same."""
    blocked, go = threading.Event(), threading.Event()

    async def blocking() -> None:
        blocked.set()
        go.wait(LIMIT)

    with AsyncioLoopManager("snapshot") as manager, submitted(manager):
        future = manager.submit_task(blocking())
        assert blocked.wait(LIMIT)
        view = found(manager)
        go.set()
        future.result(LIMIT)
    assert view["lag"] is None
    assert any(frame["function"].endswith("blocking") for frame in view["stack"])
    assert sorted(task["name"].rpartition(".")[2] for task in view["tasks"]) == [
        "blocking",
        "outer",
    ]


def test_resources() -> None:
    """What is open on a loop, and what is still opening, is shown by name."""
    held = Held()

    @loop_resource
    async def client() -> AsyncIterator[int]:
        yield 1

    @loop_resource
    async def slow() -> AsyncIterator[int]:
        await held.inner()
        yield 2

    with AsyncioLoopManager("snapshot") as manager:

        async def use(resource: Any) -> None:
            await resource()

        manager.run(use(client))
        future = manager.submit_task(use(slow))
        assert held.waiting.wait(LIMIT)
        states = {
            one["name"].rpartition(".")[2]: one["state"] for one in found(manager)["resources"]
        }
        held.let_go()
        future.result(LIMIT)
    assert states == {"client": "open", "slow": "opening"}


def test_a_resident_loop() -> None:
    """A loop that lives on a worker thread is shown as such, with that thread."""
    with Worker("pool", resident=True) as worker:
        manager = worker.call(_started)
        view = found(manager)
        assert (view["runner"], view["thread"]) == ("resident", worker.thread.name)
        assert view["lag"] is not None
        manager.stop()


def _started() -> AsyncioLoopManager:
    manager = AsyncioLoopManager("snapshot")
    manager.start()
    return manager


def test_a_manager_that_is_not_started() -> None:
    """A manager without a loop has neither thread nor tasks."""
    manager = AsyncioLoopManager("snapshot")
    view = found(manager)
    assert (view["state"], view["runner"], view["thread"]) == ("new", None, None)
    assert (view["lag"], view["tasks"], view["resources"]) == (None, [], [])
    manager.stop()


def test_the_request_that_a_task_runs_for() -> None:
    """A task of a request names the request, without its query."""
    views: list[Manager] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        manager = loop_from(environ)
        with submitted(manager):
            views.append(found(manager))
        start_response("200 OK", [])
        manager.stop()  # else it lives as long as the thread of the tests
        return []

    environ: WSGIEnvironment = {"PATH_INFO": "/orders", "QUERY_STRING": "token=secret"}
    setup_testing_defaults(environ)
    body = AsyncLoopMiddleware(app, id="snapshot")(environ, lambda *_: _write)
    getattr(body, "close", lambda: None)()
    (task,) = views[0]["tasks"]
    assert task["request"] is not None
    assert "GET /orders" in task["request"]
    assert "secret" not in json.dumps(views)


def _write(data: bytes) -> None:
    raise AssertionError("nobody uses it")
