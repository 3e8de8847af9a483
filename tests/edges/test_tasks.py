"""The tasks of a loop: their names, their end with the manager, and their price for each other."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.core.support import (
    LIMIT,
    Endless,
    Worker,
    give,
    in_process,
    in_thread,
    our_log,
    reached,
    say,
)
from tests.edges.parts import await_stopped, start
from wsgi_async import AsyncLoopMiddleware, loop_from, loop_resource
from wsgi_async.testing import LeakCheck

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from wsgiref.types import StartResponse, WSGIEnvironment

    from tests.core.conftest import MakeManager
    from wsgi_async import AsyncioLoopManager


# -- their end -------------------------------------------------------------------------------------


class Left:
    """Tasks without an end that calls leave on a loop, and how many have cleaned up."""

    def __init__(self) -> None:
        self.began = threading.Semaphore(0)
        self.cleaned: list[str] = []
        self.tasks: set[asyncio.Task[None]] = set()

    async def forever(self, name: str) -> None:
        """Wait for what does not come; needs turns of the loop to clean up."""
        self.began.release()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            for _ in range(3):
                await asyncio.sleep(0)
            await asyncio.sleep(0.001)
            self.cleaned.append(name)

    def start(self, name: str) -> None:
        """Make a task on the running loop."""
        self.tasks.add(asyncio.get_running_loop().create_task(self.forever(name)))

    async def leave(self, name: str) -> None:
        """Make a task, and leave it behind."""
        self.start(name)
        await asyncio.sleep(0)

    async def items(self, name: str) -> AsyncIterator[int]:
        """A stream that leaves a task behind, and has a cleanup itself."""
        self.start(name)
        try:
            for number in range(1000):
                await asyncio.sleep(0)
                yield number
        finally:
            await asyncio.sleep(0.001)
            self.cleaned.append(f"{name} itself")

    @asynccontextmanager
    async def entered(self, name: str) -> AsyncIterator[None]:
        """The same as a context manager."""
        self.start(name)
        try:
            yield
        finally:
            await asyncio.sleep(0.001)
            self.cleaned.append(f"{name} itself")

    def await_began(self) -> None:
        """Wait until one more has begun."""
        assert self.began.acquire(timeout=LIMIT)


def by_run(manager: AsyncioLoopManager, left: Left) -> None:
    manager.run(left.leave("run"))


def by_run_elsewhere(manager: AsyncioLoopManager, left: Left) -> None:
    in_thread(manager.run, left.leave("run elsewhere"))


def by_future(manager: AsyncioLoopManager, left: Left) -> None:
    manager.submit_task(left.leave("future")).result()


def by_sync_future(manager: AsyncioLoopManager, left: Left) -> None:
    manager.submit_task(left.leave("sync future"), True).result()


def by_callback(manager: AsyncioLoopManager, left: Left) -> None:
    manager.get_event_loop().call_soon_threadsafe(left.start, "callback")


def by_timer(manager: AsyncioLoopManager, left: Left) -> None:
    async def set_timer() -> None:
        asyncio.get_running_loop().call_later(0.001, left.start, "timer")

    manager.run(set_timer())


def threadsafe(manager: AsyncioLoopManager, left: Left) -> Any:
    loop = manager.get_event_loop()
    return asyncio.run_coroutine_threadsafe(left.forever("threadsafe"), loop)


def submitted(manager: AsyncioLoopManager, left: Left) -> None:
    manager.submit_task(left.forever("submitted"))


def by_stream(manager: AsyncioLoopManager, left: Left) -> Any:
    iterator = manager.iterate(left.items("stream"))
    assert next(iterator) == 0
    return iterator


def by_stream_of_both(manager: AsyncioLoopManager, left: Left) -> Any:
    iterator = manager.iterate(left.items("stream of both"))
    assert next(iterator) == 0
    assert in_thread(next, iterator) == 1
    return iterator


def by_prefetch(manager: AsyncioLoopManager, left: Left) -> Any:
    iterator = manager.iterate(left.items("prefetch"), prefetch=2)
    assert next(iterator) == 0
    return iterator


def by_context_manager(manager: AsyncioLoopManager, left: Left) -> Any:
    entered = manager.wrap_async_context_manager(left.entered("context manager"))
    entered.__enter__()
    return entered


def by_resource(manager: AsyncioLoopManager, left: Left) -> Any:
    @loop_resource
    async def resource() -> AsyncIterator[None]:
        left.start("resource")
        yield
        await asyncio.sleep(0.001)
        left.cleaned.append("resource itself")

    resource.get(manager)
    return resource


LEAVES: dict[str, Callable[[AsyncioLoopManager, Left], Any]] = {
    "run": by_run,
    "run elsewhere": by_run_elsewhere,
    "future": by_future,
    "sync future": by_sync_future,
    "callback": by_callback,
    "timer": by_timer,
    "threadsafe": threadsafe,
    "submitted": submitted,
    "stream": by_stream,
    "stream of both": by_stream_of_both,
    "prefetch": by_prefetch,
    "context manager": by_context_manager,
    "resource": by_resource,
}
"""How a task comes to be on a loop."""

KEEPERS = {"stream", "stream of both", "prefetch", "context manager", "resource"}
"""Those that have a cleanup of their own besides."""


def all_names() -> list[str]:
    return sorted([*LEAVES, *(f"{name} itself" for name in KEEPERS)])


@pytest.mark.parametrize("how", ["stop", "thread end"])
def test_a_stop_ends_every_task(
    how: str, make_manager: MakeManager, caplog: pytest.LogCaptureFixture
) -> None:
    """Whichever thread had a task made, it is cancelled and waited for before the loop closes."""
    left, kept = Left(), []
    with Worker() as worker:
        manager = worker.call(make_manager)
        for leave in LEAVES.values():
            kept.append(worker.call(leave, manager, left))
            left.await_began()
        if how == "stop":
            manager.stop()
    await_stopped(manager)
    assert sorted(left.cleaned) == all_names()
    assert all(task.cancelled() for task in left.tasks)
    assert our_log(caplog) == []
    assert not [one for one in caplog.records if "was destroyed" in one.getMessage()]
    del kept


@pytest.mark.parametrize("name", LEAVES)
def test_each_kind_of_task_by_itself(name: str, make_manager: MakeManager, worker: Worker) -> None:
    """A stop finds a task that was left in one way also where there is no other."""
    left, manager = Left(), worker.call(make_manager)
    kept = worker.call(LEAVES[name], manager, left)
    left.await_began()
    manager.stop()
    itself = [f"{name} itself"] if name in KEEPERS else []
    assert sorted(left.cleaned) == sorted([name, *itself])
    del kept


def child_exits() -> None:
    """The process ends with tasks of every kind."""
    left = Left()

    def report(name: str) -> None:
        say(name)

    left.cleaned = Reporter(report)
    worker = Worker()
    manager = worker.call(start)
    for leave in LEAVES.values():
        kept.append(worker.call(leave, manager, left))
        left.await_began()


class Reporter(list[str]):
    """Says what is appended to it."""

    def __init__(self, report: Callable[[str], None]) -> None:
        super().__init__()
        self._report = report

    def append(self, name: str, /) -> None:
        self._report(name)


kept: list[Any] = []


def test_the_end_of_the_process_ends_every_task() -> None:
    """At the process's exit each of them cleans up."""
    assert sorted(in_process(child_exits, limit=15).splitlines()) == all_names()


@pytest.mark.parametrize("where", ["worker", "elsewhere", "callback"])
def test_the_leak_check_names_what_a_test_leaves(
    where: str, make_manager: MakeManager, worker: Worker
) -> None:
    """A task that a test leaves on an older manager is found, whichever thread had it made."""
    manager, left = worker.call(make_manager), Left()
    check = LeakCheck(grace=0.2)
    if where == "callback":
        by_callback(manager, left)
    elif where == "worker":
        worker.call(manager.run, left.leave("task"))
    else:
        manager.run(left.leave("task"))
    left.await_began()
    (leak,) = check.leaks()
    assert "Left.forever" in leak


# -- their names -----------------------------------------------------------------------------------


def name() -> str:
    task = asyncio.current_task()
    assert task is not None
    return task.get_name()


async def fetch_page() -> str:
    await asyncio.sleep(0)
    return name()


async def read_lines() -> AsyncIterator[str]:
    yield name()


@asynccontextmanager
async def hold_lock() -> AsyncIterator[str]:
    yield name()


@loop_resource
async def open_client() -> AsyncIterator[str]:
    yield name()


class Client:
    async def fetch(self) -> str:
        return name()


def streamed_name(manager: AsyncioLoopManager, prefetch: int) -> str:
    (found,) = manager.iterate(read_lines(), prefetch=prefetch)
    return found


def entered_name(manager: AsyncioLoopManager) -> str:
    found: list[str] = []
    with manager.wrap_async_context_manager(hold_lock()) as entered:
        found.append(entered)
    return found[0]


def name_in_request(_: AsyncioLoopManager) -> str:
    found: list[str] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        found.append(loop_from(environ).run(fetch_page()))
        return iter([b""])

    from tests.middleware.wsgi import serve

    serve(AsyncLoopMiddleware(app))
    return found[0]


NAMES: dict[str, tuple[str, Callable[[AsyncioLoopManager], str]]] = {
    "run": ("fetch_page", lambda manager: manager.run(fetch_page())),
    "method": ("Client.fetch", lambda manager: manager.run(Client().fetch())),
    "future": ("fetch_page", lambda manager: manager.submit_task(fetch_page()).result()),
    "sync future": (
        "fetch_page",
        lambda manager: manager.submit_task(fetch_page(), True).result(),
    ),
    "iterate": ("read_lines", lambda manager: streamed_name(manager, 0)),
    "prefetch": ("read_lines", lambda manager: streamed_name(manager, 2)),
    "context manager": ("hold_lock", entered_name),
    "resource": ("open_client", open_client.get),
    "request": ("fetch_page", name_in_request),
}
"""What runs in which task, and how to ask it."""


@pytest.mark.parametrize("use", NAMES)
def test_a_task_has_the_name_of_its_coroutine(
    use: str, make_manager: MakeManager, worker: Worker
) -> None:
    """Who looks at a loop's tasks, with asyncio's own tools too, sees what each is about."""
    expected, ask = NAMES[use]
    manager = worker.call(make_manager)
    assert expected in worker.call(ask, manager)


def test_all_tasks_tells_the_names(make_manager: MakeManager, worker: Worker) -> None:
    """`asyncio.all_tasks()` of a manager's loop lists what runs there by name."""
    manager, endless, mine = worker.call(make_manager), Endless(), Left()

    async def with_a_name() -> None:
        mine.tasks.add(asyncio.create_task(mine.forever("x"), name="the user's"))

    manager.submit_task(endless.wait())
    worker.call(manager.run, with_a_name())
    reached(endless.began)
    mine.await_began()
    found = {task.get_name() for task in asyncio.all_tasks(manager.get_event_loop())}
    assert "the user's" in found
    (other,) = found - {"the user's"}
    assert "Endless.wait" in other


# -- what is to be seen from outside ---------------------------------------------------------------


def test_a_started_managers_loop_is_running(make_manager: MakeManager, worker: Worker) -> None:
    """`loop.is_running()` is True from `start()` to `stop()`, for whoever looks from outside."""
    manager = worker.call(make_manager)
    loop = manager.get_event_loop()
    seen = [loop.is_running(), worker.call(loop.is_running)]
    for _ in range(3):
        worker.call(manager.run, give(1))
        seen += [loop.is_running(), worker.call(loop.is_running), in_thread(loop.is_running)]
    endless = Endless()
    future = worker.call(manager.submit_task, endless.wait())
    reached(endless.began)
    seen.append(loop.is_running())
    future.cancel()
    reached(endless.cleaned)
    manager.run(give(1))
    seen.append(loop.is_running())
    worker.call(manager.run, asyncio.sleep(0.01))
    time.sleep(0.05)  # at rest
    seen += [loop.is_running(), worker.call(loop.is_running)]
    assert seen == [True] * len(seen)
    manager.stop()
    assert not loop.is_running()
    assert loop.is_closed()


def test_a_library_that_asks_whether_it_runs_is_served(
    make_manager: MakeManager, worker: Worker
) -> None:
    """Code that decides by `loop.is_running()` how to run something finds the way that works."""
    manager = worker.call(make_manager)
    loop = manager.get_event_loop()

    def run() -> str:
        if loop.is_running():
            return asyncio.run_coroutine_threadsafe(give("run"), loop).result(LIMIT)
        return loop.run_until_complete(give("refused"))

    assert run() == "run"
    assert worker.call(manager.run, give("run")) == "run"
    assert worker.call(run) == "run"
