"""Taking and leaving the loop: mechanics 1, 2, 3 and 8."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest
from wsgi_async.core.groups import JobGroup

from tests.core.support import Endless
from tests.driver.parts import FAR, LIMIT, Door, Plug, Worker, keeper_of, steps, value

if TYPE_CHECKING:
    from tests.driver.conftest import Start
    from tests.driver.seams import SpySeam
    from wsgi_async import AsyncioLoopManager, SyncFuture


def cut_visit_short(manager: AsyncioLoopManager) -> None:
    """What a stop does that comes too late: it lands in a visit that it was not meant for."""
    driver = manager.life.driver
    assert driver is not None
    manager.get_event_loop().call_soon_threadsafe(driver.loop.stop)


@pytest.mark.parametrize("drive", ["auto", "keeper", "caller"])
def test_the_mutex_is_free_while_the_loop_runs(
    start: Start, own: Worker, other: Worker, seam: SpySeam, drive: str
) -> None:
    """A coroutine that blocks its loop blocks nobody who submits work or looks at the manager."""
    manager = start(seam, linger=FAR, drive=drive)
    plug = Plug()
    held: list[bool] = []

    async def block() -> None:
        held.append(seam.held())
        plug()

    blocked = own.submit(manager.run, block())
    plug.await_reached()
    future = other.call(manager.submit_task, value("submitted meanwhile"))
    assert "in_flight=2" in other.call(repr, manager)
    plug.pull()
    blocked.result(LIMIT)
    assert future.result(LIMIT) == "submitted meanwhile"
    assert held == [False]


@pytest.mark.parametrize("drive", ["auto", "keeper", "caller"])
def test_the_loop_is_entered_by_who_has_the_baton_only(
    start: Start, own: Worker, other: Worker, seam: SpySeam, drive: str
) -> None:
    """Nobody tries the loop to find out whether somebody drives: that would damage a visit."""
    manager = start(seam, linger=0, drive=drive)

    def calls() -> None:
        for number in range(100):
            assert manager.run(value(number)) == number
            future = manager.submit_task(value(-number), return_sync_future=True)
            assert future.result(LIMIT) == -number

    for done in [own.submit(calls), other.submit(calls)]:
        done.result(LIMIT)
    assert seam.overlaps == 0
    assert seam.escaped == []


def test_a_request_to_leave_that_is_no_longer_needed_ends_no_visit(
    start: Start, own: Worker, seam: SpySeam
) -> None:
    """The keeper leaves only if somebody still waits for the baton when it gets to ask."""
    manager = start(seam, linger=FAR)
    plug, door = Plug(), Door()
    manager.get_event_loop().call_soon_threadsafe(plug)
    plug.await_reached()
    with pytest.raises(TimeoutError):
        own.call(manager.run, value(1), timeout=0.01)  # asks the keeper to leave, and gives up
    future = own.call(manager.submit_task, door.walk())
    visits = len(seam.visits)
    plug.pull()
    door.await_reached()
    assert seam.visits == [keeper_of(manager)] * visits
    door.open()
    assert future.result(LIMIT) == [keeper_of(manager)] * 2


def test_a_stop_that_comes_late_only_cuts_a_callers_visit_short(
    start: Start, own: Worker, seam: SpySeam
) -> None:
    """A caller drives until its own coroutine is done, however often its visits end."""
    manager = start(seam, linger=FAR)
    door = Door()
    result = own.submit(manager.run, door.walk())
    door.await_reached()
    for _ in range(3):
        visited = _on_next_visit(seam)
        cut_visit_short(manager)
        assert visited.wait(LIMIT)
    door.open()
    assert result.result(LIMIT) == [own.ident] * 2


def test_a_stop_that_comes_late_only_cuts_the_keepers_visit_short(
    start: Start, own: Worker, seam: SpySeam
) -> None:
    """The keeper drives as long as there is tracked work, however often its visits end."""
    manager = start(seam, linger=FAR)
    door = Door()
    future = own.call(manager.submit_task, door.walk())
    door.await_reached()
    for _ in range(3):
        visited = _on_next_visit(seam)
        cut_visit_short(manager)
        assert visited.wait(LIMIT)
    door.open()
    assert future.result(LIMIT) == [keeper_of(manager)] * 2


def _on_next_visit(seam: SpySeam) -> threading.Event:
    ended = threading.Event()
    seam.visited = ended.set
    return ended


def test_back_to_back_calls_pay_for_no_hand_over(start: Start, own: Worker, seam: SpySeam) -> None:
    """Between calls that come within the linger, the keeper does not touch the loop."""
    manager = start(seam, linger=FAR)

    def calls() -> None:
        for number in range(100):
            assert manager.run(value(number)) == number
            future = manager.submit_task(value(-number), return_sync_future=True)
            assert future.result(LIMIT) == -number

    own.call(calls)
    assert seam.visits == [own.ident] * 200


def test_queued_work_goes_to_the_keeper_at_once_when_a_driver_leaves(
    start: Start, own: Worker
) -> None:
    """What the last step of a call submits starts without a further call, and without a linger."""
    manager = start(linger=FAR)
    futures: list[SyncFuture[list[int]]] = []

    async def submit_and_end() -> None:
        futures.append(manager.submit_task(steps(), return_sync_future=True))

    own.call(manager.run, submit_and_end())
    assert futures[0].result(LIMIT)[-1] == keeper_of(manager)


def nested(start: Start, own: Worker, seam: SpySeam) -> tuple[AsyncioLoopManager, Door]:
    """A manager whose owner drives for a coroutine at a door."""
    manager = start(seam, linger=FAR)
    return manager, Door()


def test_a_call_between_two_visits_drives_again(start: Start, own: Worker, seam: SpySeam) -> None:
    """Sync code that the driver runs between two visits can call run() and wait for results."""
    manager, door = nested(start, own, seam)
    inner: list[list[int]] = []
    done = threading.Event()

    def between_visits() -> None:
        seam.visited = lambda: None
        inner.append(manager.run(steps()))
        inner.append(manager.submit_task(steps(), return_sync_future=True).result(LIMIT))
        done.set()

    outer = own.submit(manager.run, door.walk())
    door.await_reached()
    seam.visited = between_visits
    cut_visit_short(manager)
    assert done.wait(LIMIT)
    door.open()
    assert outer.result(LIMIT) == [own.ident] * 2
    assert inner == [[own.ident] * 5] * 2


def test_a_request_that_ends_between_two_visits_ends_its_tasks(
    start: Start, own: Worker, seam: SpySeam, caplog: pytest.LogCaptureFixture
) -> None:
    """The thread that ends the request drives its tasks through their cleanup: nobody else can."""
    manager, door = nested(start, own, seam)
    cancelled: list[bool] = []
    done = threading.Event()

    def between_visits() -> None:
        seam.visited = lambda: None
        driver = manager.life.driver
        assert driver is not None
        group = JobGroup(driver)
        tasks = [Endless(), Endless()]
        futures = [manager.submit_job(task.wait(), True, None, group) for task in tasks]
        manager.run(steps())  # starts them too
        assert all(task.began.is_set() for task in tasks)
        group.end()
        cancelled.extend(future.cancelled() for future in futures)
        done.set()

    outer = own.submit(manager.run, door.walk())
    door.await_reached()
    seam.visited = between_visits
    cut_visit_short(manager)
    assert done.wait(LIMIT)
    door.open()
    assert outer.result(LIMIT) == [own.ident] * 2
    assert cancelled == [True, True]
    assert caplog.records == []


def test_the_outer_call_may_end_during_a_call_between_two_visits(
    start: Start, own: Worker, seam: SpySeam
) -> None:
    """A coroutine that is done while a nested call drives gives its result all the same."""
    manager, door = nested(start, own, seam)

    async def open_and_linger() -> str:
        door.open()
        while len(door.threads) < 2:
            await asyncio.sleep(0)
        return "inner"

    inner: list[str] = []

    def between_visits() -> None:
        seam.visited = lambda: None
        inner.append(manager.run(open_and_linger()))

    outer = own.submit(manager.run, door.walk())
    door.await_reached()
    seam.visited = between_visits
    cut_visit_short(manager)
    assert outer.result(LIMIT) == [own.ident] * 2
    assert inner == ["inner"]


@pytest.mark.parametrize("way", ["run", "result"])
def test_the_outer_timeout_counts_during_a_call_between_two_visits(
    start: Start, own: Worker, seam: SpySeam, way: str
) -> None:
    """A timeout that passes while a nested call drives takes effect when that call is over."""
    manager, door = nested(start, own, seam)
    timed_out: list[bool] = []

    def wait() -> None:
        if way == "run":
            manager.run(door.walk(), timeout=0.01)
        else:
            manager.submit_task(door.walk(), return_sync_future=True).result(0.01)

    def between_visits() -> None:
        seam.visited = lambda: None
        manager.run(asyncio.sleep(0.1))
        timed_out.append(True)

    seam.visited = between_visits
    outer = own.submit(wait)
    door.await_reached()
    cut_visit_short(manager)
    with pytest.raises(TimeoutError, match=r"within 0\.01 s"):
        outer.result(LIMIT)
    assert timed_out == [True]
