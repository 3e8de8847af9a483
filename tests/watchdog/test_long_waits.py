"""Calls that a thread waits for too long, and wake-ups that come late."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

from tests.core.support import LIMIT, Worker
from tests.watchdog.parts import BLOCKED_AFTER, Reports, asleep, functions, looked
from wsgi_async import AsyncioLoopManager, LoopThreadPoolExecutor, current_manager
from wsgi_async.watchdog import start_watchdog

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@pytest.fixture
def long_waits() -> Iterator[Reports]:
    """As `reports`, of calls that take longer than 0.1 s too."""
    found = Reports()
    watchdog = start_watchdog(60, run_longer_than=BLOCKED_AFTER, on_report=found)
    yield found
    watchdog.stop()


class Gate:
    """Holds a coroutine until another thread opens it."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def open(self) -> None:
        self._loop.call_soon_threadsafe(self._open.set)

    async def passed(self) -> None:
        await self._open.wait()


gates: list[Gate] = []


async def waits() -> None:
    gates.append(Gate())
    await gates[-1].passed()


def view(manager: AsyncioLoopManager) -> None:
    manager.run(waits())


def test_a_run_that_takes_long(long_waits: Reports) -> None:
    """It is reported once, with where its thread is and where the coroutine waits."""
    with AsyncioLoopManager() as manager, Worker("worker") as worker:
        future = worker.begin(view, manager)
        report = long_waits.wait("long_wait")
        looked()
        gates[-1].open()
        future.result(LIMIT)
    assert [each.kind for each in long_waits.all] == ["long_wait"]
    assert (report.thread, report.coroutine) == ("worker", "waits")
    assert report.seconds >= BLOCKED_AFTER
    assert functions(report.chain) == ["waits", "passed", "wait"]
    assert "view" in functions(report.stack)
    assert "select" in functions(report.loop_stack)
    assert "thread 'worker' has been waiting for waits for 0." in report.text
    assert "await gates[-1].passed()" in report.text


def test_a_run_whose_loop_is_blocked(long_waits: Reports) -> None:
    """The loop cannot be asked, so the coroutine is looked at from outside."""
    until = threading.Event()

    async def blocks() -> None:
        until.wait(LIMIT)

    with AsyncioLoopManager() as manager, Worker("worker") as worker:
        future = worker.begin(manager.run, blocks())
        report = long_waits.wait("long_wait")
        until.set()
        future.result(LIMIT)
    assert functions(report.loop_stack)[0] == "blocks"
    assert functions(report.chain)[0] == "blocks"


def test_a_run_on_a_worker_thread_with_a_loop(long_waits: Reports) -> None:
    """There the thread that waits is the loop's: one stack is enough."""
    with LoopThreadPoolExecutor(1, "worker") as pool:
        future = pool.submit(lambda: view(current_manager()))
        report = long_waits.wait("long_wait")
        gates[-1].open()
        future.result(LIMIT)
    assert (report.thread, report.loop_stack) == ("worker_0", ())
    assert functions(report.chain) == ["waits", "passed", "wait"]


def test_an_item_of_a_stream_that_takes_long(long_waits: Reports) -> None:
    """A thread that waits for an item is reported with the generator's name."""

    async def items() -> AsyncIterator[int]:
        await waits()
        yield 1

    with AsyncioLoopManager() as manager, Worker("worker") as worker:
        future = worker.begin(lambda: list(manager.iterate(items())))
        report = long_waits.wait("long_wait")
        gates[-1].open()
        assert future.result(LIMIT) == [1]
    assert (report.coroutine or "").endswith("items")
    assert report.chain


def test_background_tasks_may_take_long(long_waits: Reports) -> None:
    """No thread waits for them."""
    with AsyncioLoopManager() as manager:
        future = manager.submit_task(asyncio.sleep(60))
        looked()
        future.cancel()
    assert long_waits.all == []


def lose_a_wakeup(manager: AsyncioLoopManager, *, busy: bool) -> None:
    """Put a callback on a loop that sleeps, without waking it, and wait until it has run."""
    event = threading.Event()
    loop = manager.get_event_loop()

    def callback() -> None:
        if busy:
            loop.call_soon(event.set)
        else:
            event.set()

    future = manager.submit_task(asyncio.sleep(60))
    asleep(manager)
    loop.call_soon(callback)
    assert event.wait(LIMIT)
    looked(1)
    future.cancel()


def test_a_wake_up_from_the_wrong_thread(reports: Reports) -> None:
    """A callback that another thread has put on the loop without waking it is reported."""
    with AsyncioLoopManager(debug=False) as manager:  # asyncio's debug mode refuses it
        lose_a_wakeup(manager, busy=True)
        report = reports.wait("lost_wakeup")
    assert report.coroutine == "sleep"
    assert "a wake-up from another thread was lost" in report.text


@pytest.mark.xfail(reason="the selector sees only callbacks that have others follow at once")
def test_a_wake_up_that_leads_to_nothing_else(reports: Reports) -> None:
    """The same for a callback after which the loop goes to sleep again."""
    with AsyncioLoopManager(debug=False) as manager:
        lose_a_wakeup(manager, busy=False)
    assert reports.of("lost_wakeup")
