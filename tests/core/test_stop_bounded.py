"""`stop()` with what does not end: it returns in time, and the log has the names."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.core.support import (
    Endless,
    Stubborn,
    Worker,
    give,
    in_process,
    on_worker,
    our_log,
    reached,
)
from wsgi_async import AsyncioLoopManager
from wsgi_async.core.managers import process

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.core.conftest import MakeManager

SLACK = 5.0
"""Seconds more than its timeout that a `stop()` may take on a busy machine."""


def stopped_in(manager: AsyncioLoopManager, timeout: float) -> None:
    begun = time.monotonic()
    manager.stop(timeout=timeout)
    assert time.monotonic() - begun < timeout + SLACK


@on_worker
def test_a_task_that_refuses_to_end(
    make_manager: MakeManager, caplog: pytest.LogCaptureFixture
) -> None:
    """It is named, left behind, and its waiter gets the error."""
    manager = make_manager()
    stubborn = Stubborn()
    future = manager.submit_task(stubborn.wait())
    reached(stubborn.began)
    loop = manager.get_event_loop()
    stopped_in(manager, 0.2)
    assert stubborn.refused.is_set()
    assert "Stubborn.wait" in "".join(our_log(caplog))
    with pytest.raises(RuntimeError, match="stopped"):
        future.result(0)
    assert loop.is_closed()


@on_worker
def test_an_untracked_task_that_refuses_to_end(
    make_manager: MakeManager, caplog: pytest.LogCaptureFixture
) -> None:
    """A task that a call left behind is named like those that came in through us."""
    manager = make_manager()
    stubborn = Stubborn()

    async def leave() -> asyncio.Task[Any]:
        return asyncio.create_task(stubborn.wait())

    task = manager.run(leave())
    reached(stubborn.began)
    stopped_in(manager, 0.2)
    assert "Stubborn.wait" in "".join(our_log(caplog))
    assert not task.done()


@on_worker
def test_what_comes_after_a_stubborn_task(make_manager: MakeManager) -> None:
    """Tasks have half of the time at most: generators and executor still get their share."""
    manager = make_manager()
    stubborn, finished = Stubborn(), threading.Event()

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            await asyncio.sleep(0.01)
            finished.set()

    async def first(numbers: AsyncIterator[int]) -> int:
        return await anext(numbers)

    generator = numbers()
    manager.run(first(generator))
    thread = manager.run(asyncio.to_thread(threading.current_thread))
    manager.submit_task(stubborn.wait())
    reached(stubborn.began)
    stopped_in(manager, 1.0)
    assert finished.is_set()
    assert not thread.is_alive()


@on_worker
def test_the_other_tasks_beside_a_stubborn_one(make_manager: MakeManager) -> None:
    """One task that refuses costs the others nothing: they clean up."""
    manager = make_manager()
    stubborn, others = Stubborn(), [Endless() for _ in range(3)]
    manager.submit_task(stubborn.wait())
    for other in others:
        manager.submit_task(other.wait())
    reached(stubborn.began)
    for other in others:
        reached(other.began)
    stopped_in(manager, 0.2)
    assert [other.cleaned.is_set() for other in others] == [True] * 3


@on_worker
def test_an_async_generator_that_hangs(
    make_manager: MakeManager, caplog: pytest.LogCaptureFixture
) -> None:
    """A generator whose `finally` block never ends is named and left behind."""
    manager = make_manager()

    async def endless_numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            await asyncio.get_running_loop().create_future()

    async def first(numbers: AsyncIterator[int]) -> int:
        return await anext(numbers)

    generator = endless_numbers()
    manager.run(first(generator))
    loop = manager.get_event_loop()
    stopped_in(manager, 0.2)
    assert "endless_numbers" in "".join(our_log(caplog))
    assert loop.is_closed()


@on_worker
def test_a_function_in_the_executor(
    make_manager: MakeManager, caplog: pytest.LogCaptureFixture
) -> None:
    """A function in the default executor that does not end is left behind, with a word."""
    manager = make_manager()
    began, go_on = threading.Event(), threading.Event()

    def endless_function() -> None:
        began.set()
        reached(go_on)

    manager.submit_task(asyncio.to_thread(endless_function))
    reached(began)
    loop = manager.get_event_loop()
    try:
        stopped_in(manager, 0.2)
        assert "executor" in "".join(our_log(caplog))
        assert loop.is_closed()
    finally:
        go_on.set()


@on_worker
def test_no_time_at_all(make_manager: MakeManager) -> None:
    """`stop(timeout=0)` returns soon, and whoever waited has the error."""
    manager = make_manager()
    stubborn = Stubborn()
    future = manager.submit_task(stubborn.wait())
    reached(stubborn.began)
    stopped_in(manager, 0)
    with pytest.raises(RuntimeError, match="stopped"):
        future.result(SLACK)


@on_worker
def test_in_time_is_not_logged(make_manager: MakeManager, caplog: pytest.LogCaptureFixture) -> None:
    """A stop in which everything ends in time has nothing to say."""
    manager = make_manager()
    task = Endless()
    manager.submit_task(task.wait())
    reached(task.began)
    manager.run(asyncio.to_thread(int))
    manager.stop()
    assert our_log(caplog) == []


def child_with_a_blocked_thread(runner: str) -> None:
    """In a process of its own: a coroutine blocks the loop's thread, for ever."""
    log: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            log.append(record.getMessage())

    logging.getLogger("wsgi_async").addHandler(Handler())
    process.__dict__["STOP_TIMEOUT"] = 1.0  # what the process's exit waits for that thread, in vain
    began = threading.Event()

    async def blocks_its_thread() -> None:
        began.set()
        time.sleep(3600)

    owner = Worker(resident=runner == "resident")
    manager = AsyncioLoopManager("blocked", creator_thread=owner.thread)
    owner.call(manager.start)
    waiting = owner.begin(manager.run, blocks_its_thread())
    reached(began)
    woken: list[concurrent.futures.Future[Any]] = [manager.submit_task(give(1))]
    if runner == "keeper":
        woken.append(waiting)  # a thread that is blocked itself cannot be woken
    stopped_in(manager, 0.3)
    assert any("blocks_its_thread" in line for line in log), log
    for future in woken:
        error = future.exception(SLACK)
        assert isinstance(error, RuntimeError), error
        assert "stopped" in str(error)
    with pytest.raises(RuntimeError, match="stopped"):
        manager.run(give(1))
    print("returned")
    sys.stdout.flush()


@pytest.mark.slow
def test_a_task_that_blocks_its_thread(runner: str) -> None:
    """`stop()` returns even when a coroutine holds the loop's thread, and the process ends too."""
    assert in_process(child_with_a_blocked_thread, runner, limit=40) == "returned\n"
