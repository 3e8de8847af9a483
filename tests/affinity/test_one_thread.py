"""What insists on one thread for a loop: portals, greenlets, debug mode, all_tasks()."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest

from tests.core.support import LIMIT, Worker, give, on_worker, outcome, reached
from wsgi_async import loop_resource

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.core.conftest import MakeManager


@loop_resource
async def portal() -> AsyncIterator[anyio.from_thread.BlockingPortal]:
    """anyio's portal to the loop, by which other threads call functions there."""
    async with anyio.from_thread.BlockingPortal() as one:
        yield one


def test_anyios_portal(make_manager: MakeManager, runner: str, worker: Worker) -> None:
    """Another thread's calls through it run on the loop's thread, between and in calls."""
    manager = worker.call(make_manager)

    def open_it() -> tuple[anyio.from_thread.BlockingPortal, int]:
        return manager.run(portal()), manager.run(give(threading.get_ident()))

    async def home() -> int:
        return threading.get_ident()

    opened, mine = worker.call(open_it)
    loops = worker.call(lambda: manager.run(home()))
    assert (loops == mine) == (runner == "resident")
    with Worker("other") as other:
        asked = [other.call(opened.call, threading.get_ident) for _ in range(3)]
        asking = other.begin(opened.call, home)
        worker.call(lambda: [manager.run(give(number)) for number in range(20)])
        assert {*asked, outcome(asking)} == {loops}


@on_worker
def test_anyios_worker_threads(make_manager: MakeManager) -> None:
    """A function in a thread of anyio's calls back to the loop, in calls and in the background."""
    manager = make_manager()

    async def home() -> int:
        return threading.get_ident()

    async def there_and_back() -> bool:
        away: tuple[int, int] = await anyio.to_thread.run_sync(
            lambda: (anyio.from_thread.run(home), anyio.from_thread.run_sync(threading.get_ident))
        )
        return set(away) == {threading.get_ident()}

    for _ in range(3):
        background = manager.submit_task(there_and_back())
        assert manager.run(there_and_back())
        assert background.result(LIMIT)


@on_worker
def test_a_greenlet_lives_on(make_manager: MakeManager) -> None:
    """A greenlet that one call has begun goes on in the next, and in a background task."""
    greenlet = pytest.importorskip("greenlet")
    manager = make_manager()
    begun: list[Any] = []

    def count() -> None:
        number = 0
        while True:
            number += 1
            greenlet.getcurrent().parent.switch(number)

    async def step() -> int:
        await asyncio.sleep(0)
        if not begun:
            begun.append(greenlet.greenlet(count))
        begun[0].parent = greenlet.getcurrent()
        number: int = begun[0].switch()
        return number

    async def end() -> None:
        begun.clear()

    assert [manager.run(step()) for _ in range(3)] == [1, 2, 3]
    assert manager.submit_task(step()).result(LIMIT) == 4
    assert manager.run(step()) == 5
    manager.run(end())


@on_worker
def test_all_tasks_are_seen_on_the_loop(make_manager: MakeManager) -> None:
    """asyncio.all_tasks() in a coroutine lists those that any thread has started there."""
    manager = make_manager()
    go = asyncio.Event()
    began = [threading.Event() for _ in range(2)]

    async def wait(number: int) -> int:
        began[number].set()
        await go.wait()
        return number

    async def leave_behind() -> asyncio.Task[bool]:
        return asyncio.create_task(go.wait(), name="left")

    async def look() -> list[str]:
        go.set()
        return [task.get_name() for task in asyncio.all_tasks()]

    mine = manager.submit_task(wait(0))
    with Worker("other") as other:
        theirs = other.call(manager.submit_task, wait(1))
    left = manager.run(leave_behind())
    for event in began:
        reached(event)
    names = [name.split(".")[-1] for name in manager.run(look())]
    assert sorted(names) == ["left", "look", "wait", "wait"]
    assert (mine.result(LIMIT), theirs.result(LIMIT)) == (0, 1)
    assert manager.run(asyncio.wait_for(left, LIMIT))


@on_worker
def test_debug_mode(make_manager: MakeManager, caplog: pytest.LogCaptureFixture) -> None:
    """In debug mode, which checks the thread of each call_soon(), all goes on as without it."""
    manager = make_manager(debug=True)
    manager.get_event_loop().slow_callback_duration = LIMIT

    async def home() -> int:
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_result, threading.get_ident())
        return int(await future)

    async def items() -> AsyncIterator[int]:
        for _ in range(3):
            yield await home()

    with Worker("other") as other:
        threads = {
            manager.run(home()),
            manager.submit_task(home()).result(LIMIT),
            other.call(lambda: manager.run(home())),
            *manager.iterate(items()),
            *manager.iterate(items(), prefetch=2),
        }
    assert len(threads) == 1
    assert not caplog.records
