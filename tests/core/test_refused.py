"""Coroutines that a manager does not take: closed, without a warning, and nothing started."""

from __future__ import annotations

import asyncio
import gc
import inspect
import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.core.support import (
    Endless,
    Worker,
    give,
    in_thread,
    on_worker,
    our_log,
    outcome,
    reached,
    wait_until,
)
from wsgi_async import AsyncioLoopManager, SyncFuture, UnknownAsyncTaskError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from tests.core.conftest import LoopFactory, MakeManager

    Call = Callable[[AsyncioLoopManager, Coroutine[Any, Any, Any]], object]


def run(manager: AsyncioLoopManager, coro: Coroutine[Any, Any, Any]) -> object:
    return manager.run(coro)


def submit(manager: AsyncioLoopManager, coro: Coroutine[Any, Any, Any]) -> object:
    return manager.submit_task(coro)


every_call = pytest.mark.parametrize("call", [run, submit])


def refused(call: Call, manager: AsyncioLoopManager) -> RuntimeError:
    """The error of a call; its coroutine was closed and has not begun."""
    begun = threading.Event()

    async def work() -> None:
        begun.set()

    coro = work()
    with pytest.raises(RuntimeError) as caught:
        call(manager, coro)
    assert inspect.getcoroutinestate(coro) == inspect.CORO_CLOSED
    assert not begun.is_set()
    del coro
    gc.collect()  # a "never awaited" warning would be raised as an error here
    return caught.value


@every_call
@on_worker
def test_before_start(loop_factory: LoopFactory | None, call: Call) -> None:
    """If a manager is not started, the error explains that and how to fix it."""
    manager = AsyncioLoopManager("early", loop_factory=loop_factory)
    error = str(refused(call, manager))
    assert "not started" in error
    assert "start()" in error
    assert "'early'" in error


@every_call
@on_worker
def test_after_stop(make_manager: MakeManager, call: Call) -> None:
    """If a manager was stopped, the error explains that and how to fix it."""
    manager = make_manager("late")
    manager.stop()
    error = str(refused(call, manager))
    assert "stopped" in error
    assert "not started" not in error
    assert "start()" in error


@every_call
@on_worker
def test_while_it_is_being_stopped(
    make_manager: MakeManager, call: Call, caplog: pytest.LogCaptureFixture
) -> None:
    """From the moment of `stop()` on new work is refused at once, even as old work cleans up."""
    manager = make_manager("ending")
    cleaning, go_on = threading.Event(), threading.Event()

    async def clean_up_slowly() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            cleaning.set()
            await asyncio.to_thread(reached, go_on)

    def look() -> str:
        reached(cleaning)
        try:
            return str(refused(call, manager))
        finally:
            go_on.set()

    endless = Endless()
    manager.submit_task(endless.wait())
    manager.submit_task(clean_up_slowly())
    reached(endless.began)
    with Worker() as stopper, Worker() as other:
        stopping, looking = stopper.begin(manager.stop), other.begin(look)
        # A loop that lives on this thread is closed in here.
        assert "being stopped" in outcome(looking)
        outcome(stopping)
    assert our_log(caplog) == []  # nobody has waited for what was refused


@every_call
@on_worker
def test_within_a_task_that_is_being_stopped(make_manager: MakeManager, call: Call) -> None:
    """Async code that submits more work in its cleanup gets the error there, and nothing hangs."""
    manager = make_manager()
    errors: list[RuntimeError] = []
    began = threading.Event()

    async def submit_in_cleanup() -> None:
        try:
            began.set()
            await asyncio.get_running_loop().create_future()
        finally:
            errors.append(refused(call, manager))

    manager.submit_task(submit_in_cleanup())
    reached(began)
    manager.stop()
    assert len(errors) == 1


@pytest.mark.parametrize("call", ["run", "submit_task"])
def test_no_coroutine_before_start(call: str) -> None:
    """What is no coroutine is the first thing to be told, also where nothing could run."""
    with pytest.raises(TypeError, match="coroutine"):
        getattr(AsyncioLoopManager(), call)(5)


@on_worker
def test_what_could_not_be_started_any_more(make_manager: MakeManager) -> None:
    """A task that came while the loop stood still is closed when the manager stops.

    Its future has the error.
    """
    manager = make_manager()
    stands, go_on = threading.Event(), threading.Event()

    async def stand_still() -> None:
        stands.set()
        reached(go_on)  # blocks the loop, so that nothing new can begin

    coro = Endless().wait()

    def submit_and_stop() -> SyncFuture[Any]:
        reached(stands)
        future = manager.submit_task(coro)
        with Worker() as other:
            stopping = other.begin(manager.stop)
            wait_until(lambda: not manager.running, "the manager begins to stop")
            go_on.set()
            outcome(stopping)
        return future

    with Worker() as one, Worker() as two:
        waiting, submitting = one.begin(manager.run, stand_still()), two.begin(submit_and_stop)
        future = outcome(submitting)
        wait_until(waiting.done, "the waiting thread is woken")
    assert inspect.getcoroutinestate(coro) == inspect.CORO_CLOSED
    with pytest.raises(RuntimeError, match="stopped"):
        future.result()


@every_call
@on_worker
def test_of_another_task_type(make_manager: MakeManager, call: Call) -> None:
    """A coroutine of the wrong type is closed like every other that is refused."""
    manager = make_manager(task_type="mail")
    coro = give(1)
    with pytest.raises(UnknownAsyncTaskError):
        call(manager, coro)
    assert inspect.getcoroutinestate(coro) == inspect.CORO_CLOSED


@on_worker
def test_run_in_a_coroutine(make_manager: MakeManager) -> None:
    """`run()` where an event loop runs is refused, and its coroutine closed."""
    manager = make_manager()

    async def nested() -> RuntimeError:
        return refused(run, manager)

    assert "await" in str(manager.run(nested()))
    assert "await" in str(asyncio.run(nested()))
    assert "await" in str(in_thread(lambda: asyncio.run(nested())))
