"""Known traps of the hand-over from driver to driver, each at the very moment that it needs."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from typing import TYPE_CHECKING

import pytest

from tests.driver.parts import FAR, LIMIT, Door, Plug, Worker, keeper_of, steps, until, value

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.driver.conftest import Start
    from tests.driver.seams import SpySeam
    from wsgi_async import AsyncioLoopManager


def test_a_driver_is_not_kept_by_somebody_elses_endless_task(start: Start, own: Worker) -> None:
    """A call returns when its own coroutine is done, whatever else it has set going."""
    manager = start(linger=FAR)
    door = Door()
    tasks: set[asyncio.Task[None]] = set()

    async def spin() -> None:
        while True:
            await asyncio.sleep(0)

    async def set_going() -> str:
        tasks.add(asyncio.get_running_loop().create_task(spin()))
        futures.append(manager.submit_task(door.walk()))
        while not door.reached.is_set():
            await asyncio.sleep(0)
        return "mine"

    futures: list[concurrent.futures.Future[list[int]]] = []
    assert own.call(manager.run, set_going()) == "mine"
    assert own.call(manager.run, value("next")) == "next"
    door.open()
    assert futures[0].result(LIMIT) == [own.ident, keeper_of(manager)]


def test_a_waiter_that_drives_is_not_kept_by_other_tasks(start: Start, own: Worker) -> None:
    """result(timeout) returns in time while other coroutines keep the loop busy."""
    manager = start(linger=FAR)
    door = Door()
    tasks: set[asyncio.Task[None]] = set()

    async def spin() -> None:
        while True:
            await asyncio.sleep(0)

    async def wait_beside() -> list[int]:
        tasks.add(asyncio.get_running_loop().create_task(spin()))
        return await door.walk()

    def wait_too_short() -> concurrent.futures.Future[list[int]]:
        future = manager.submit_task(wait_beside(), return_sync_future=True)
        with pytest.raises(TimeoutError):
            future.result(0.01)
        return future  # type: ignore[return-value]

    future = own.call(wait_too_short)
    door.open()
    assert future.result(LIMIT) == [own.ident, keeper_of(manager)]


def test_there_are_never_two_drivers(
    start: Start, own: Worker, other: Worker, seam: SpySeam
) -> None:
    """With several threads that all may drive, each does, and one at a time."""
    manager = start(seam, linger=0, drive="caller")
    workers = [own, other, Worker("third")]
    barrier = threading.Barrier(len(workers))

    def calls() -> None:
        for number in range(50):
            barrier.wait(LIMIT)
            assert manager.run(value(number)) == number
            future = manager.submit_task(steps(), return_sync_future=True)
            assert len(future.result(LIMIT)) == 5

    for done in [worker.submit(calls) for worker in workers]:
        done.result(LIMIT * 2)
    workers[-1].end()
    assert seam.overlaps == 0
    assert {worker.ident for worker in workers} <= set(seam.visits)


@pytest.mark.parametrize("drive", ["auto", "keeper"])
def test_a_coroutine_is_stepped_by_one_thread_while_calls_come_and_go(
    start: Start, own: Worker, drive: str
) -> None:
    """Background work stays on its thread while a caller takes and leaves the loop beside it."""
    manager = start(linger=0, drive=drive)
    stop = threading.Event()

    async def until_stopped() -> set[int]:
        threads = set()
        while not stop.is_set():
            threads.add(threading.get_ident())
            await asyncio.sleep(0)
        return threads

    def calls() -> None:
        for number in range(100):
            background = manager.submit_task(until_stopped())
            assert len(set(manager.run(steps()))) == 1
            sync_future = manager.submit_task(steps(), return_sync_future=True)
            if number % 2:
                assert len(set(sync_future.result(LIMIT))) == 1
            stop.set()
            assert background.result(LIMIT) <= {keeper_of(manager)}
            assert len(set(sync_future.result(LIMIT))) == 1
            stop.clear()

    own.submit(calls).result(LIMIT * 2)


def claim(start: Start, seam: SpySeam) -> tuple[AsyncioLoopManager, Plug]:
    """A manager whose keeper drives and is held up, so that a caller has to claim the baton."""
    manager = start(seam, linger=FAR)
    plug = Plug()
    manager.get_event_loop().call_soon_threadsafe(plug)
    plug.await_reached()
    assert plug.thread == keeper_of(manager)
    return manager, plug


class Unstarted:
    """Counts how often its coroutine is begun."""

    def __init__(self) -> None:
        self.begun = 0

    async def walk(self) -> None:
        self.begun += 1
        await asyncio.Event().wait()


@pytest.mark.parametrize("moment", ["blocked", "giving up"])
def test_a_caller_that_gets_the_baton_as_its_time_is_over_passes_it_on(
    start: Start, own: Worker, seam: SpySeam, moment: str
) -> None:
    """A timeout that expires in the moment of the hand-over leaves the loop to the next."""
    manager, plug = claim(start, seam)
    job = Unstarted()
    driver = manager.life.driver
    assert driver is not None
    baton, keeper = driver.baton, keeper_of(manager)
    got: list[bool] = []

    def hand_over() -> None:
        if threading.get_ident() == own.ident and seam.timed_out and not got:
            plug.pull()
            until(lambda: baton.holder != keeper)
            got.append(baton.holder == own.ident)

    setattr(seam, {"blocked": "on_timeout", "giving up": "entering"}[moment], hand_over)
    with pytest.raises(TimeoutError, match=r"Unstarted\.walk did not end within"):
        own.call(manager.run, job.walk(), timeout=0.01)
    assert got == [True]
    assert own.call(manager.submit_task, value("next")).result(LIMIT) == "next"
    assert own.call(manager.run, steps()) == [own.ident] * 5
    assert "in_flight=0" in own.call(repr, manager)
    assert job.begun == (moment == "blocked")


@pytest.mark.parametrize("way", ["run", "result"])
def test_a_claim_that_is_given_up_leaves_the_baton_to_the_next(
    start: Start, own: Worker, seam: SpySeam, way: str
) -> None:
    """Who stops waiting for the loop is not handed it later, when nobody is there to take it."""
    manager, plug = claim(start, seam)

    def wait_too_short() -> object:
        if way == "run":
            return manager.run(value(1), timeout=0.01)
        return manager.submit_task(value(1), return_sync_future=True).result(0.01)

    with pytest.raises(TimeoutError):
        own.call(wait_too_short)
    plug.pull()
    assert own.call(manager.submit_task, value("next")).result(LIMIT) == "next"
    assert own.call(manager.run, steps()) == [own.ident] * 5


def test_work_begun_under_a_driver_that_leaves_is_brought_to_its_end(
    start: Start, own: Worker, other: Worker
) -> None:
    """What other threads wait for goes on at once when the caller who drove it has left."""
    manager = start(linger=FAR)
    first, second = Door(), Door()
    driving = own.submit(manager.run, first.walk())
    first.await_reached()
    waiting = other.submit(manager.run, second.walk())
    second.await_reached()
    first.open()
    assert driving.result(LIMIT) == [own.ident] * 2
    second.open()
    assert waiting.result(LIMIT) == [own.ident, keeper_of(manager)]


@pytest.mark.parametrize("drive", ["auto", "keeper", "caller"])
@pytest.mark.parametrize("depth", [1, 3])
def test_nested_sync_and_async_calls_do_not_deadlock(
    start: Start, own: Worker, drive: str, depth: int
) -> None:
    """A coroutine may wait for a thread that waits for a coroutine that waits for a thread."""
    manager = start(linger=FAR, drive=drive)

    def sync(level: int, call: Callable[[int], int]) -> int:
        return call(level) + 1

    async def level_down(level: int) -> int:
        if level == 0:
            return await value(0)
        by_run = await asyncio.to_thread(sync, level, lambda at: manager.run(level_down(at - 1)))
        by_future = await asyncio.to_thread(
            sync,
            level,
            lambda at: manager.submit_task(level_down(at - 1), True).result(LIMIT),
        )
        assert by_run == by_future
        return by_run

    assert own.call(manager.run, level_down(depth)) == depth
    assert own.call(manager.submit_task, level_down(depth)).result(LIMIT) == depth


def test_two_managers_whose_coroutines_call_each_other_do_not_deadlock(
    start: Start, own: Worker
) -> None:
    """Calls across managers work from threads, and are refused where a loop would stand still."""
    one, two = start(linger=FAR), start(linger=FAR)

    async def back() -> str:
        return await asyncio.to_thread(one.run, value("back at the first"))

    async def across() -> str:
        with pytest.raises(RuntimeError, match="runs an event loop"):
            two.run(value("would block the loop"))
        return await asyncio.to_thread(two.run, back())

    assert own.call(one.run, across()) == "back at the first"


@pytest.mark.parametrize("drive", ["auto", "keeper", "caller"])
def test_every_waiter_of_a_future_is_woken(
    start: Start, own: Worker, other: Worker, drive: str
) -> None:
    """Several threads can wait for one future, with and without a timeout."""
    manager = start(linger=FAR, drive=drive)
    door = Door()
    future = own.call(manager.submit_task, door.walk(), return_sync_future=True)
    third = Worker("third")
    waits = [worker.submit(future.result, LIMIT) for worker in (own, other)]
    waits.append(third.submit(future.result))
    door.await_reached()
    door.open()
    results = [wait.result(LIMIT) for wait in waits]
    assert results == [door.threads] * 3
    third.end()
