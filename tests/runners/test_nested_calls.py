"""Sync and async calls inside of each other, and beside work that does not end."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

from tests.runners.parts import LIMIT, Door, Worker, steps, thread_of, value
from wsgi_async import async_to_sync_future

if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import Callable

    from tests.runners.conftest import Start
    from tests.runners.spies import SpyPrimitives


def test_a_call_is_not_kept_by_somebody_elses_endless_task(start: Start, own: Worker) -> None:
    """A call returns when its own coroutine is done, whatever else it has set going."""
    manager = start()
    door = Door()
    tasks: set[asyncio.Task[None]] = set()
    futures: list[concurrent.futures.Future[str]] = []

    async def spin() -> None:
        while True:
            await asyncio.sleep(0)

    async def set_going() -> str:
        tasks.add(asyncio.get_running_loop().create_task(spin()))
        futures.append(manager.submit_task(door.walk()))
        while not door.reached.is_set():
            await asyncio.sleep(0)
        return "mine"

    assert own.call(manager.run, set_going()) == "mine"
    assert own.call(manager.run, value("next")) == "next"
    door.open()
    assert futures[0].result(LIMIT) == "through"


def test_a_waiter_is_not_kept_by_other_tasks(start: Start, own: Worker) -> None:
    """result(timeout) returns in time while other coroutines keep the loop busy."""
    manager = start()
    door = Door()
    tasks: set[asyncio.Task[None]] = set()

    async def spin() -> None:
        while True:
            await asyncio.sleep(0)

    async def wait_beside() -> str:
        tasks.add(asyncio.get_running_loop().create_task(spin()))
        return await door.walk()

    def wait_too_short() -> concurrent.futures.Future[str]:
        future = manager.submit_task(wait_beside())
        with pytest.raises(TimeoutError):
            future.result(0.01)
        return future

    future = own.call(wait_too_short)
    door.await_reached()
    door.open()
    assert future.result(LIMIT) == "through"


def test_one_thread_runs_the_loop(
    start: Start, own: Worker, other: Worker, spy: SpyPrimitives
) -> None:
    """With several threads that call at once, every coroutine is stepped by the same thread."""
    manager = start(spy)
    lives_on = thread_of(manager)
    workers = [own, other, Worker("third")]

    def calls() -> None:
        for number in range(50):
            assert manager.run(value(number)) == number
            assert set(manager.run(steps())) == {lives_on}
            assert set(manager.submit_task(steps()).result(LIMIT)) == {lives_on}

    for done in [worker.begin(calls) for worker in workers]:
        done.result(LIMIT * 2)
    workers[-1].end()
    assert spy.overlaps == 0
    assert spy.threads == {lives_on}


@pytest.mark.parametrize("depth", [1, 3])
def test_nested_sync_and_async_calls_do_not_deadlock(start: Start, own: Worker, depth: int) -> None:
    """A coroutine may wait for a thread that waits for a coroutine that waits for a thread."""
    manager = start()

    def sync(level: int, call: Callable[[int], int]) -> int:
        return call(level) + 1

    async def level_down(level: int) -> int:
        if level == 0:
            return await value(0)
        by_run = await asyncio.to_thread(sync, level, lambda at: manager.run(level_down(at - 1)))
        by_future = await asyncio.to_thread(
            sync, level, lambda at: manager.submit_task(level_down(at - 1)).result(LIMIT)
        )
        assert by_run == by_future
        return by_run

    assert own.call(manager.run, level_down(depth)) == depth
    assert own.call(manager.submit_task, level_down(depth)).result(LIMIT) == depth


def test_two_managers_whose_coroutines_call_each_other_do_not_deadlock(
    start: Start, own: Worker
) -> None:
    """Calls across managers work from threads, and are refused where a loop would stand still."""
    one, two = start(), start()

    async def back() -> str:
        return await asyncio.to_thread(one.run, value("back at the first"))

    async def across() -> str:
        with pytest.raises(RuntimeError, match="runs an event loop"):
            two.run(value("would block the loop"))
        return await asyncio.to_thread(two.run, back())

    assert own.call(one.run, across()) == "back at the first"


def test_every_waiter_of_a_future_is_woken(start: Start, own: Worker, other: Worker) -> None:
    """Several threads can wait for one future, with and without a timeout."""
    manager = start()
    door = Door()
    future = own.call(manager.submit_task, door.walk())
    third = Worker("third")
    waits = [worker.begin(future.result, LIMIT) for worker in (own, other)]
    waits.append(third.begin(future.result))
    door.await_reached()
    door.open()
    assert [wait.result(LIMIT) for wait in waits] == ["through"] * 3
    third.end()


def test_work_of_ones_own_coroutine_is_begun(start: Start, own: Worker) -> None:
    """A coroutine may wait for what it submits to its own manager."""
    manager = start()

    async def outer() -> list[int]:
        return await asyncio.wrap_future(manager.submit_task(steps()))

    assert len(own.call(manager.run, outer())) == 5


def test_calls_beside_a_task_in_flight(start: Start, own: Worker) -> None:
    """A task that waits for something neither holds up calls nor is held up by them."""
    manager = start()
    door = Door()
    background = own.call(manager.submit_task, door.walk())
    door.await_reached()
    for number in range(100):
        assert own.call(manager.run, value(number)) == number
    door.open()
    assert background.result(LIMIT) == "through"


def test_a_blocked_loop_blocks_nobody_who_submits(start: Start, own: Worker, other: Worker) -> None:
    """Whoever submits work or looks at the manager waits for no coroutine."""
    manager = start()
    blocks, goes_on = threading.Event(), threading.Event()

    async def block() -> None:
        blocks.set()
        goes_on.wait(LIMIT)

    blocked = own.begin(manager.run, block())
    assert blocks.wait(LIMIT)
    future = other.call(manager.submit_task, value("submitted meanwhile"))
    assert "in_flight=2" in other.call(repr, manager)
    goes_on.set()
    blocked.result(LIMIT)
    assert future.result(LIMIT) == "submitted meanwhile"


def test_a_thread_waits_for_asyncios_future(start: Start, own: Worker) -> None:
    """What `run_coroutine_threadsafe()` gives can be waited for by the loop's own thread too."""
    manager = start()
    loop = manager.get_event_loop()

    def submit_and_wait() -> list[int]:
        future = asyncio.run_coroutine_threadsafe(steps(), loop)
        return async_to_sync_future(future).result(LIMIT)

    assert len(own.call(submit_and_wait)) == 5
