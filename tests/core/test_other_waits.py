"""Futures of ours in the hands of `concurrent.futures` and asyncio, which know nothing of us."""

from __future__ import annotations

import asyncio
import concurrent.futures
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
    outcome,
    reached,
    throw,
)
from wsgi_async import AsyncioLoopManager, SyncFuture, async_to_sync_future

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.core.conftest import MakeManager

    Call = Callable[..., Any]


def here(fn: Call, *args: Any, **kwargs: Any) -> Any:
    """On the thread that the manager belongs to."""
    return fn(*args, **kwargs)


def elsewhere(fn: Call, *args: Any, **kwargs: Any) -> Any:
    """On a thread that only uses the manager."""
    return in_thread(fn, *args, **kwargs)


anywhere = pytest.mark.parametrize("call", [here, elsewhere])


@on_worker
def test_wait_for_what_the_loop_of_this_thread_fills(make_manager: MakeManager) -> None:
    """A future that was made by hand, and an executor's that was wrapped, are as any other."""
    manager = make_manager()
    by_hand, source = SyncFuture[int](), concurrent.futures.Future[int]()
    wrapped = async_to_sync_future(source)

    async def fill() -> None:
        by_hand.set_result(1)
        source.set_result(2)

    manager.submit_task(fill())
    done, left = concurrent.futures.wait([by_hand, wrapped], LIMIT)
    assert ({future.result() for future in done}, left) == ({1, 2}, set())


@on_worker
def test_wait_in_a_coroutine_of_another_loop(make_manager: MakeManager) -> None:
    """It blocks that loop, and ends, as it does for an executor's futures."""
    manager = make_manager()
    with AsyncioLoopManager(creator_thread=threading.main_thread()) as other:

        async def wait() -> int:
            done, _ = concurrent.futures.wait([other.submit_task(give(1))], LIMIT)
            return done.pop().result()

        assert manager.run(wait()) == 1
        assert manager.run(give(2)) == 2


@anywhere
@on_worker
def test_wait(make_manager: MakeManager, call: Call) -> None:
    """`concurrent.futures.wait()` takes our futures, beside an executor's."""
    manager = make_manager()

    def wait() -> Any:
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            tasks = [manager.submit_task(give(1)), manager.submit_task(asyncio.sleep(0.01, 2))]
            return concurrent.futures.wait([pool.submit(int, 3), *tasks], LIMIT)

    done, left = call(wait)
    assert {future.result() for future in done} == {1, 2, 3}
    assert left == set()


@anywhere
@on_worker
def test_wait_sees_a_failure_and_a_cancellation(make_manager: MakeManager, call: Call) -> None:
    """`wait()` returns for the first failure, and counts a canceled task as done."""
    manager = make_manager()
    endless, other = manager.submit_task(Endless().wait()), manager.submit_task(Endless().wait())
    bad = manager.submit_task(throw(LookupError()))
    futures = [endless, other, bad]
    done, _ = call(concurrent.futures.wait, futures, LIMIT, concurrent.futures.FIRST_EXCEPTION)
    assert done == {bad}
    assert isinstance(bad.exception(), LookupError)
    assert endless.cancel()
    futures = [endless, other]
    done, left = call(concurrent.futures.wait, futures, LIMIT, concurrent.futures.FIRST_COMPLETED)
    assert (done, left) == ({endless}, {other})
    assert endless.cancelled()


@anywhere
@on_worker
def test_wait_ends_with_its_timeout(make_manager: MakeManager, call: Call) -> None:
    """`wait()` keeps to its timeout, and `as_completed()` to its own."""
    manager, endless = make_manager(), Endless()
    future = manager.submit_task(endless.wait())
    assert call(concurrent.futures.wait, [future], 0.01) == (set(), {future})
    with pytest.raises(TimeoutError):
        call(next, concurrent.futures.as_completed([future], 0.01))
    reached(endless.began)
    assert not endless.cleaned.is_set()


@anywhere
@on_worker
def test_as_completed(make_manager: MakeManager, call: Call) -> None:
    """`as_completed()` gives each of our futures when it is done, the quickest first."""
    manager = make_manager()

    def values() -> list[str]:
        tasks = [asyncio.sleep(0.05, "slow"), give("quick"), asyncio.sleep(0.025, "middling")]
        futures = [manager.submit_task(task) for task in tasks]
        return [done.result() for done in concurrent.futures.as_completed(futures, LIMIT)]

    assert call(values) == ["quick", "middling", "slow"]


@anywhere
@on_worker
def test_wait_for_a_wrapped_future(make_manager: MakeManager, call: Call) -> None:
    """What `async_to_sync_future()` gives can be waited for in the same way."""
    manager = make_manager()

    async def leave() -> asyncio.Task[str]:
        return asyncio.create_task(asyncio.sleep(0.01, "page"))

    future = async_to_sync_future(manager.run(leave()))
    assert call(concurrent.futures.wait, [future], LIMIT).done == {future}
    assert future.result(0) == "page"


def test_wait_for_a_future_by_hand() -> None:
    """A future that somebody fills is one like any other."""
    future: SyncFuture[int] = SyncFuture()
    with Worker() as worker:
        waiting = worker.begin(concurrent.futures.wait, [future])
        assert future.set_running_or_notify_cancel()
        future.set_result(1)
        assert outcome(waiting).done == {future}


# -- asyncio -------------------------------------------------------------------------------------


@pytest.fixture
def other_loop() -> Iterator[Call]:
    """Runs a coroutine on a loop of asyncio's own, in a thread of its own."""
    with Worker("other loop") as worker:
        yield lambda coro: outcome(worker.begin(asyncio.run, coro))


async def wrapped(manager: AsyncioLoopManager, coro: Any) -> Any:
    return await asyncio.wrap_future(manager.submit_task(coro))


async def awaited(manager: AsyncioLoopManager, coro: Any) -> Any:
    return await manager.submit_task(coro)


awaits = pytest.mark.parametrize("wait", [wrapped, awaited])


@awaits
@on_worker
def test_another_loop_can_await_it(make_manager: MakeManager, other_loop: Call, wait: Call) -> None:
    """A coroutine on another thread's loop gets the result or the exception."""
    manager = make_manager()
    assert other_loop(wait(manager, give("page"))) == "page"
    with pytest.raises(LookupError):
        other_loop(wait(manager, throw(LookupError())))


@awaits
@on_worker
def test_another_loop_can_cancel_it(
    make_manager: MakeManager, other_loop: Call, wait: Call
) -> None:
    """A coroutine that is canceled while it awaits our future cancels the task."""
    manager, endless = make_manager(), Endless()

    async def cancel() -> None:
        waiting = asyncio.ensure_future(wait(manager, endless.wait()))
        await asyncio.to_thread(reached, endless.began)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    other_loop(cancel())
    reached(endless.cleaned)


@awaits
@on_worker
def test_a_coroutine_on_the_same_loop_can_await_it(make_manager: MakeManager, wait: Call) -> None:
    """Async code may await what it has submitted to its own manager."""
    manager = make_manager()
    assert manager.run(wait(manager, give("page"))) == "page"


@awaits
@on_worker
def test_a_cancellation_arrives(make_manager: MakeManager, other_loop: Call, wait: Call) -> None:
    """Who awaits a task that somebody cancels gets asyncio's error."""
    manager, endless = make_manager(), Endless()

    async def cancel_itself() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await endless.wait()

    with pytest.raises(asyncio.CancelledError):
        other_loop(wait(manager, cancel_itself()))


@pytest.mark.parametrize("exits", [asyncio.CancelledError, SystemExit, None])
def test_a_callback_that_raises_keeps_no_waiter(
    make_manager: MakeManager, exits: type[BaseException] | None
) -> None:
    """Whoever waits for a canceled task is told, whatever its done callbacks raise."""
    manager, task = make_manager(), Endless()
    future = manager.submit_task(task.wait())

    def callback(_: object) -> None:
        if exits is not None:
            raise exits

    future.add_done_callback(callback)
    reached(task.began)
    with Worker() as waiter:
        waiting = waiter.begin(concurrent.futures.wait, [future], LIMIT)
        future.cancel()
        assert waiting.result(LIMIT).done == {future}


def test_a_callback_may_wait_for_the_thread_that_waits(make_manager: MakeManager) -> None:
    """`result()` returns before the callbacks have run, as that of the standard library does."""
    manager, lock, go_on = make_manager(), threading.Lock(), asyncio.Event()
    future = manager.submit_task(go_on.wait())
    waits = threading.Event()

    def callback(_: object) -> None:
        with lock:
            pass

    def work() -> bool:
        with lock:
            waits.set()
            return future.result(LIMIT)

    future.add_done_callback(callback)
    with Worker() as waiter:
        working = waiter.begin(work)
        reached(waits)
        manager.get_event_loop().call_soon_threadsafe(go_on.set)
        assert working.result(LIMIT) is True


def test_a_callback_of_a_future_that_is_filled_by_hand_may_exit() -> None:
    """The thread that waits for it has the result all the same."""
    future: SyncFuture[str] = SyncFuture()

    def callback(_: object) -> None:
        raise asyncio.CancelledError

    future.add_done_callback(callback)
    with Worker() as waiter:
        waiting = waiter.begin(future.result, LIMIT)
        with pytest.raises(asyncio.CancelledError):
            future.set_result("here")
        assert waiting.result(LIMIT) == "here"


@on_worker
def test_what_is_filled_by_hand_stays_so(
    make_manager: MakeManager, caplog: pytest.LogCaptureFixture
) -> None:
    """A submitted task that is canceled afterwards changes nothing, and nothing is logged."""
    manager = make_manager()
    tasks: list[Any] = []

    async def work() -> None:
        tasks.append(asyncio.current_task())
        await asyncio.sleep(LIMIT)

    future: SyncFuture[Any] = manager.submit_task(work())
    manager.run(asyncio.sleep(0))
    future.set_result("mine")
    manager.get_event_loop().call_soon_threadsafe(tasks[0].cancel)
    manager.run(asyncio.sleep(0.01))
    assert future.result() == "mine"
    assert [record for record in caplog.records if record.name != "asyncio"] == []


@pytest.mark.parametrize("wait", ["wait", "as_completed"])
def test_a_stop_meanwhile_closes_a_resident_loop(make_manager: MakeManager, wait: str) -> None:
    """Another thread's `stop()` does not wait for its whole time, and the loop is closed."""
    with Worker(resident=True) as worker, Worker() as stranger:
        manager, task = worker.call(AsyncioLoopManager), Endless()
        worker.call(manager.start)

        def work() -> str:
            future = manager.submit_task(task.wait())
            stopping = stranger.begin(manager.stop)
            if wait == "wait":
                concurrent.futures.wait([future])
            else:
                list(concurrent.futures.as_completed([future]))
            stopping.result(LIMIT)
            return manager.state

        assert worker.call(work) == "stopped"


def test_the_cancellation_of_a_wrapped_future_may_be_refused() -> None:
    """`cancel()` says what the other library's future has said."""
    begun, go_on = threading.Event(), threading.Event()

    def work() -> bool:
        begun.set()
        return go_on.wait(LIMIT)

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        future = async_to_sync_future(pool.submit(work))
        reached(begun)
        assert not future.cancel()
        go_on.set()
        assert future.result(LIMIT)


def test_the_wait_for_a_wrapped_future_ends_when_its_source_is_canceled() -> None:
    """`concurrent.futures.wait()` is told of the cancellation."""
    source: concurrent.futures.Future[int] = concurrent.futures.Future()
    future = async_to_sync_future(source)
    with Worker() as waiter:
        waiting = waiter.begin(concurrent.futures.wait, [future], LIMIT)
        source.cancel()
        assert waiting.result(LIMIT).done == {future}
    assert future.cancelled()
