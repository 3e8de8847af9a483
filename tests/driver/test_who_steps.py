"""The table of who steps a coroutine with drive="auto", a row a test."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

from tests.driver.parts import FAR, LIMIT, Door, Worker, keeper_of, steps, value

if TYPE_CHECKING:
    from tests.driver.conftest import Start
    from wsgi_async import AsyncioLoopManager, SyncFuture


def test_run_on_the_own_thread_is_stepped_by_the_caller(start: Start, own: Worker) -> None:
    """With nothing in flight the coroutine runs on the calling thread, without a hop."""
    manager = start(linger=FAR)
    for _ in range(3):
        assert own.call(manager.run, steps()) == [own.ident] * 5


def test_run_takes_the_baton_back_from_a_keeper_at_rest(start: Start, own: Worker) -> None:
    """Also when the keeper was the last to drive, the caller steps its own coroutine."""
    manager = start(linger=FAR)
    loop = manager.get_event_loop()
    for _ in range(3):
        assert asyncio.run_coroutine_threadsafe(steps(), loop).result(LIMIT)
        assert own.call(manager.run, steps()) == [own.ident] * 5


def test_submitted_work_is_stepped_by_the_keeper(start: Start, own: Worker, other: Worker) -> None:
    """Background work starts at once, on the keeper, whichever thread submits it."""
    manager = start(linger=FAR)
    for worker in (own, other):
        future = worker.call(manager.submit_task, steps())
        assert future.result(LIMIT) == [keeper_of(manager)] * 5


def test_the_keeper_goes_on_as_long_as_tracked_work_is_in_flight(start: Start, own: Worker) -> None:
    """Work that waits for something needs no further call to come to its end."""
    manager = start(linger=FAR)
    door = Door()
    future = own.call(manager.submit_task, door.walk())
    door.await_reached()
    door.open()
    assert future.result(LIMIT) == [keeper_of(manager)] * 2


@pytest.mark.parametrize("wait", ["result", "exception", "wait"])
def test_the_first_waiter_drives_what_nobody_has_started(
    start: Start, own: Worker, wait: str
) -> None:
    """submit_task(...).result() on the own thread is as fast as run()."""
    manager = start(linger=FAR)

    def submit_and_wait() -> list[int]:
        future: SyncFuture[list[int]] = manager.submit_task(steps(), return_sync_future=True)
        getattr(future, wait)(LIMIT)
        assert future.done()
        return future.result(0)

    for _ in range(3):
        assert own.call(submit_and_wait) == [own.ident] * 5


def test_a_waiter_leaves_the_work_to_the_keeper_if_more_is_queued(
    start: Start, own: Worker
) -> None:
    """Two queued coroutines are both stepped by the keeper, as one may wait for the other."""
    manager = start(linger=FAR)

    def submit_two() -> list[list[int]]:
        futures = [manager.submit_task(steps(), return_sync_future=True) for _ in range(2)]
        return [future.result(LIMIT) for future in futures]

    assert own.call(submit_two) == [[keeper_of(manager)] * 5] * 2


def test_a_waiter_leaves_the_work_to_the_keeper_if_other_work_is_in_flight(
    start: Start, own: Worker
) -> None:
    """A coroutine in flight stays on the keeper, so what is submitted beside it goes there."""
    manager = start(linger=FAR)
    door = Door()
    before = own.call(manager.submit_task, door.walk())
    door.await_reached()

    def submit_and_wait() -> list[int]:
        return manager.submit_task(steps(), return_sync_future=True).result(LIMIT)

    assert own.call(submit_and_wait) == [keeper_of(manager)] * 5
    door.open()
    assert before.result(LIMIT) == [keeper_of(manager)] * 2


def test_a_waiter_of_another_thread_leaves_the_work_to_the_keeper(
    start: Start, own: Worker, other: Worker
) -> None:
    """Who waits from another thread is served at once, by the keeper."""
    manager = start(linger=FAR)
    future = own.call(manager.submit_task, steps(), return_sync_future=True)
    assert other.call(future.result, LIMIT) == [keeper_of(manager)] * 5


def test_a_waiter_that_comes_late_finds_the_work_on_the_keeper(start: Start, own: Worker) -> None:
    """What the keeper has started, it brings to the end, though the owner waits for it."""
    manager = start(linger=0)
    door = Door()
    future = own.call(manager.submit_task, door.walk(), return_sync_future=True)
    door.await_reached()
    waiting = own.submit(future.result, LIMIT)
    door.open()
    assert waiting.result(LIMIT) == [keeper_of(manager)] * 2


def test_run_beside_tracked_work_is_stepped_by_the_keeper(start: Start, own: Worker) -> None:
    """While background work is in flight, a call costs a hop and nothing moves."""
    manager = start(linger=FAR)
    door = Door()
    background = own.call(manager.submit_task, door.walk())
    door.await_reached()
    assert own.call(manager.run, steps()) == [keeper_of(manager)] * 5
    door.open()
    assert background.result(LIMIT) == [keeper_of(manager)] * 2


def test_the_caller_drives_again_when_the_tracked_work_is_done(start: Start, own: Worker) -> None:
    """Background work makes calls hop only as long as it lives."""
    manager = start(linger=FAR)
    own.call(manager.submit_task, steps()).result(LIMIT)
    assert own.call(manager.run, steps()) == [own.ident] * 5


def test_run_from_another_thread_is_stepped_by_the_keeper(
    start: Start, own: Worker, other: Worker
) -> None:
    """A thread that does not own the manager never steps its coroutines."""
    manager = start(linger=FAR)
    assert other.call(manager.run, steps()) == [keeper_of(manager)] * 5


@pytest.mark.parametrize("use", ["run", "submit_task"])
def test_use_by_a_second_thread_leaves_the_driving_to_the_keeper(
    start: Start, own: Worker, other: Worker, use: str
) -> None:
    """From the second thread's first use on, the owner's calls run on the keeper too."""
    manager = start(linger=FAR)
    assert own.call(manager.run, steps()) == [own.ident] * 5
    other.call(getattr(manager, use), value(1))
    for _ in range(3):
        assert own.call(manager.run, steps()) == [keeper_of(manager)] * 5


def test_work_of_the_drivers_own_coroutine_starts_under_the_driver(
    start: Start, own: Worker
) -> None:
    """A coroutine may wait for what it submits: it starts at once and does not deadlock."""
    manager = start(linger=FAR)

    async def outer() -> list[int]:
        return await asyncio.wrap_future(manager.submit_task(steps()))

    assert own.call(manager.run, outer()) == [own.ident] * 5


@pytest.mark.parametrize("use", ["run", "submit_task"])
def test_work_of_another_thread_starts_under_the_driver(
    start: Start, own: Worker, other: Worker, use: str
) -> None:
    """The driver's coroutine may be waiting for it, so nothing waits for the driver to leave."""
    manager = start(linger=FAR)
    door = Door()
    driving = own.submit(manager.run, door.walk())
    door.await_reached()

    async def open_door() -> list[int]:
        door.open()
        return await steps(1)

    other.call(_use, manager, use, open_door)
    assert driving.result(LIMIT) == [own.ident] * 2


def _use(manager: AsyncioLoopManager, use: str, opens: object) -> None:
    assert callable(opens)
    if use == "run":
        assert manager.run(opens())[0] != threading.get_ident()
    else:
        assert manager.submit_task(opens()).result(LIMIT)[0] != threading.get_ident()


def test_what_a_driver_leaves_unfinished_moves_once_to_the_keeper(
    start: Start, own: Worker
) -> None:
    """Work begun under a call goes on without it, and stays where it went."""
    manager = start(linger=FAR)
    doors = [Door(), Door()]

    async def in_background() -> list[int]:
        for door in doors:
            await door.walk()
        return [thread for door in doors for thread in door.threads]

    async def outer() -> None:
        futures.append(manager.submit_task(in_background()))
        while not doors[0].reached.is_set():
            await asyncio.sleep(0)

    futures: list = []
    own.call(manager.run, outer())
    for door in doors:
        door.await_reached()
        assert own.call(manager.run, steps()) == [keeper_of(manager)] * 5
        door.open()
    assert futures[0].result(LIMIT) == [own.ident] + [keeper_of(manager)] * 3
