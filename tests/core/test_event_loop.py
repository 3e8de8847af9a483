"""`get_event_loop()`: the asyncio loop itself, for other libraries, and `debug`."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import logging
import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.core.support import (
    LIMIT,
    Endless,
    Worker,
    give,
    in_thread,
    on_worker,
    our_log,
    outcome,
    reached,
    throw,
)
from wsgi_async import AsyncioLoopManager, async_to_sync_future

if TYPE_CHECKING:
    from tests.core.conftest import LoopFactory, MakeManager


@on_worker
def test_only_while_it_is_started(loop_factory: LoopFactory | None) -> None:
    """Before `start()` and after `stop()` there is no loop, and the error tells which it is."""
    manager = AsyncioLoopManager("mine", loop_factory=loop_factory)
    with pytest.raises(RuntimeError, match="not started"):
        manager.get_event_loop()
    manager.start()
    loop = manager.get_event_loop()
    assert isinstance(loop, asyncio.AbstractEventLoop)
    assert manager.get_event_loop() is loop
    manager.stop()
    with pytest.raises(RuntimeError, match="was stopped"):
        manager.get_event_loop()


@pytest.mark.parametrize("before", ["nothing", "run", "submit_task"])
@on_worker
def test_run_coroutine_threadsafe(make_manager: MakeManager, runner: str, before: str) -> None:
    """asyncio's own way onto the loop works from any thread, at once.

    On a resident thread the loop goes on as soon as that thread waits for it; a future of asyncio's
    does not know how, so it is wrapped.
    """
    manager = make_manager()
    if before == "run":
        manager.run(give(1))
    elif before == "submit_task":
        manager.submit_task(give(1)).result()
    loop = manager.get_event_loop()

    def call() -> str:
        return asyncio.run_coroutine_threadsafe(give("page"), loop).result(LIMIT)

    assert in_thread(call) == "page"
    if runner == "keeper":
        assert call() == "page"
    future = asyncio.run_coroutine_threadsafe(give("page"), loop)
    assert async_to_sync_future(future).result(LIMIT) == "page"
    future = asyncio.run_coroutine_threadsafe(throw(LookupError()), loop)
    assert isinstance(async_to_sync_future(future).exception(LIMIT), LookupError)


@on_worker
def test_run_coroutine_threadsafe_beside_a_call(make_manager: MakeManager) -> None:
    """It works while a caller waits in `run()`, and the caller may wait for what it brings."""
    manager = make_manager()
    began, go = threading.Event(), asyncio.Event()

    async def wait_for_other() -> str:
        began.set()
        await go.wait()
        return "met"

    async def other() -> None:
        go.set()

    with Worker() as stranger:

        def send() -> None:
            reached(began)
            asyncio.run_coroutine_threadsafe(other(), manager.get_event_loop()).result(LIMIT)

        sending = stranger.begin(send)
        assert manager.run(wait_for_other(), timeout=LIMIT) == "met"
        outcome(sending)


@on_worker
def test_call_soon_threadsafe(make_manager: MakeManager) -> None:
    """A callback from another thread is called soon, with no call under way."""
    manager = make_manager()
    manager.run(give(1))
    called = threading.Event()
    late = threading.Event()
    loop = manager.get_event_loop()
    loop.call_soon_threadsafe(called.set)
    reached(called)
    loop.call_soon_threadsafe(late.set, context=contextvars.copy_context())
    reached(late)


@on_worker
def test_an_executors_callback(make_manager: MakeManager) -> None:
    """What a call left in an executor wakes the loop when it is done, with no call under way."""
    manager = make_manager()
    go_on, done = threading.Event(), threading.Event()

    async def leave() -> asyncio.Task[None]:
        return asyncio.create_task(work())

    async def work() -> None:
        await asyncio.to_thread(reached, go_on)
        done.set()

    async def turn() -> None:
        await asyncio.sleep(0)

    _task = manager.run(leave())
    manager.run(turn())
    go_on.set()
    reached(done)


@on_worker
def test_cancelling_such_a_future(make_manager: MakeManager) -> None:
    """Cancelling the future of `run_coroutine_threadsafe` cancels the coroutine."""
    manager, task = make_manager(), Endless()
    future: concurrent.futures.Future[Any] = asyncio.run_coroutine_threadsafe(
        task.wait(), manager.get_event_loop()
    )
    reached(task.began)
    assert future.cancel()
    reached(task.cleaned)


@on_worker
def test_a_stop_cancels_what_came_past_us(make_manager: MakeManager) -> None:
    """Coroutines that came onto the loop without the manager are cleaned up by `stop()` too."""
    manager, task = make_manager(), Endless()
    future = asyncio.run_coroutine_threadsafe(task.wait(), manager.get_event_loop())
    reached(task.began)
    manager.stop()
    assert task.cleaned.is_set()
    with pytest.raises(concurrent.futures.CancelledError):
        outcome(future)


# -- debug ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("debug", [True, False])
@on_worker
def test_debug_is_asyncios(make_manager: MakeManager, debug: bool) -> None:
    """`debug` switches asyncio's debug mode; without it asyncio decides."""
    assert make_manager(debug=debug).get_event_loop().get_debug() is debug
    loop = asyncio.new_event_loop()
    assert make_manager().get_event_loop().get_debug() is loop.get_debug()
    loop.close()


async def leave_a_task_behind() -> asyncio.Task[None]:
    return asyncio.create_task(left_behind(), name="the one that is left")


async def left_behind() -> None:
    await asyncio.get_running_loop().create_future()


@on_worker
def test_debug_warns_of_tasks_left_behind(
    make_manager: MakeManager, caplog: pytest.LogCaptureFixture
) -> None:
    """In debug mode a task that a `run()` leaves behind is named in the log, once."""
    manager = make_manager(debug=True)
    _task = manager.run(leave_a_task_behind())
    manager.run(give(1))
    (line,) = our_log(caplog)
    assert "the one that is left" in line
    assert "left_behind" in line


@on_worker
def test_without_debug_there_is_no_warning(
    make_manager: MakeManager, caplog: pytest.LogCaptureFixture
) -> None:
    """To leave a task behind is allowed, and else not worth a word."""
    _task = make_manager(debug=False).run(leave_a_task_behind())
    assert our_log(caplog, logging.INFO) == []


@on_worker
def test_debug_does_not_warn_of_submitted_tasks(
    make_manager: MakeManager, caplog: pytest.LogCaptureFixture
) -> None:
    """A task that was submitted is where it should be, also when a coroutine did it."""
    manager = make_manager(debug=True)
    tasks = [Endless(), Endless()]

    async def submit() -> None:
        manager.submit_task(tasks[0].wait())
        manager.submit_task(tasks[1].wait())
        while not all(task.began.is_set() for task in tasks):
            await asyncio.sleep(0)

    manager.run(submit())
    assert our_log(caplog) == []
