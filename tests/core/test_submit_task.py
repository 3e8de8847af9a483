"""`submit_task()`: work that outlives the call, and the future that it comes with."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import threading
import weakref
from typing import TYPE_CHECKING

import pytest

from tests.core.support import Endless, Worker, give, in_thread, on_worker, outcome, reached, throw
from wsgi_async import SyncFuture

if TYPE_CHECKING:
    from tests.core.conftest import MakeManager

both = pytest.mark.parametrize("sync_future", [False, True], ids=["Future", "SyncFuture"])


@on_worker
def test_the_kinds_of_future(make_manager: MakeManager) -> None:
    """By default a `concurrent.futures.Future`, on request a `SyncFuture`."""
    manager = make_manager()
    assert isinstance(manager.submit_task(give(1)), concurrent.futures.Future)
    assert isinstance(manager.submit_task(give(1), True), SyncFuture)
    assert isinstance(manager.submit_task(give(1), return_sync_future=True), SyncFuture)


@both
@on_worker
def test_result_and_exception(make_manager: MakeManager, sync_future: bool) -> None:
    """The future has what the coroutine returned or raised."""
    manager = make_manager()
    error = LookupError("no such page")
    good = manager.submit_task(give("page"), return_sync_future=sync_future)
    assert (good.result(), good.exception()) == ("page", None)
    bad = manager.submit_task(throw(error), return_sync_future=sync_future)
    with pytest.raises(LookupError) as caught:
        bad.result()
    assert caught.value is error
    assert bad.exception() is error


@on_worker
def test_it_starts_at_once(make_manager: MakeManager) -> None:
    """A task begins with nobody waiting for it, however long the linger."""
    manager = make_manager(linger=3600)
    manager.run(give("leaves the loop lingering"))
    task = Endless()
    manager.submit_task(task.wait())
    reached(task.began)


@on_worker
def test_with_a_sync_future_it_starts_within_the_linger(make_manager: MakeManager) -> None:
    """If no waiter comes to start it, it begins all the same, soon."""
    manager = make_manager()
    manager.run(give("leaves the loop lingering"))
    task = Endless()
    manager.submit_task(task.wait(), return_sync_future=True)
    reached(task.began)


@both
@on_worker
def test_it_returns_at_once(make_manager: MakeManager, sync_future: bool) -> None:
    """The caller goes on while the task has no end in sight."""
    task = Endless()
    future = make_manager().submit_task(task.wait(), return_sync_future=sync_future)
    assert not future.done()


@both
@on_worker
def test_from_within_a_coroutine(make_manager: MakeManager, sync_future: bool) -> None:
    """Async code may submit to its own manager; the task is then stepped beside it."""
    manager = make_manager()
    met = asyncio.Event()

    async def partner() -> str:
        met.set()
        return "met"

    async def meet() -> concurrent.futures.Future[str] | SyncFuture[str]:
        future = manager.submit_task(partner(), return_sync_future=sync_future)
        await met.wait()
        return future

    assert manager.run(meet(), timeout=10).result() == "met"


@both
@on_worker
def test_from_any_thread(make_manager: MakeManager, sync_future: bool) -> None:
    """A thread that does not own the manager may submit to it, and wait."""
    manager = make_manager()

    def stranger() -> str:
        return manager.submit_task(give("page"), return_sync_future=sync_future).result()

    assert in_thread(stranger) == "page"


@both
@on_worker
def test_it_outlives_the_call(make_manager: MakeManager, sync_future: bool) -> None:
    """Nothing but the manager holds the task, and it still comes to its end."""
    manager = make_manager()
    begun, done = threading.Event(), threading.Event()

    async def work() -> None:
        go = asyncio.Event()
        # Only a weak reference leads from the outside to what the task waits for.
        asyncio.get_running_loop().call_later(0.05, go.set)
        begun.set()
        await go.wait()
        done.set()

    manager.submit_task(work(), return_sync_future=sync_future)
    reached(begun)
    gc.collect()
    reached(done)


@on_worker
def test_a_task_that_only_the_manager_holds(make_manager: MakeManager) -> None:
    """A task in a cycle of its own is not collected, as asyncio's own tasks are."""
    manager = make_manager()
    begun, collected = threading.Event(), threading.Event()

    async def wait_for_nobody() -> None:
        # The future refers to the task, the task to the future, and nothing else to either.
        try:
            begun.set()
            await asyncio.get_running_loop().create_future()
        except GeneratorExit:
            collected.set()
            raise

    manager.submit_task(wait_for_nobody())
    reached(begun)
    manager.run(asyncio.sleep(0))
    gc.collect()
    assert manager.run(give("alive")) == "alive"
    assert not collected.is_set()


@on_worker
def test_works_with_concurrent_futures(make_manager: MakeManager) -> None:
    """`wait` and `as_completed` take the futures, beside an executor's."""
    manager = make_manager()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        futures = [manager.submit_task(give(1)), manager.submit_task(give(2)), pool.submit(int, 3)]
        done, left = concurrent.futures.wait(futures, 20)
        assert (len(done), len(left)) == (3, 0)
        values = {future.result() for future in concurrent.futures.as_completed(futures, 20)}
    assert values == {1, 2, 3}


@on_worker
def test_wait_sees_a_failure_and_a_cancellation(make_manager: MakeManager) -> None:
    """`wait` returns for the first failure, and counts a cancelled task as done."""
    manager = make_manager()
    endless, other = manager.submit_task(Endless().wait()), manager.submit_task(Endless().wait())
    bad = manager.submit_task(throw(LookupError()))
    done, _ = concurrent.futures.wait(
        [endless, other, bad], 20, return_when=concurrent.futures.FIRST_EXCEPTION
    )
    assert done == {bad}
    assert isinstance(bad.exception(), LookupError)
    assert endless.cancel()
    done, left = concurrent.futures.wait(
        [endless, other], 20, return_when=concurrent.futures.FIRST_COMPLETED
    )
    assert (done, left) == ({endless}, {other})


@on_worker
def test_works_with_wrap_future(make_manager: MakeManager) -> None:
    """Another loop can await the future, and cancel it."""
    manager = make_manager()
    endless = Endless()

    async def elsewhere() -> str:
        waiting = asyncio.wrap_future(manager.submit_task(endless.wait()))
        await asyncio.to_thread(reached, endless.began)
        waiting.cancel()
        with pytest.raises(LookupError):
            await asyncio.wrap_future(manager.submit_task(throw(LookupError())))
        return await asyncio.wrap_future(manager.submit_task(give("page")))

    assert asyncio.run(elsewhere()) == "page"
    reached(endless.cleaned)


@on_worker
def test_cancel_of_a_future(make_manager: MakeManager) -> None:
    """Cancelling a default future counts at once, and the coroutine cleans up."""
    manager = make_manager()
    endless = Endless()
    future = manager.submit_task(endless.wait())
    reached(endless.began)
    assert future.cancel()
    assert future.cancelled()
    assert future.done()
    reached(endless.cleaned)
    with pytest.raises(concurrent.futures.CancelledError):
        future.result()


@on_worker
def test_cancel_of_a_sync_future(make_manager: MakeManager) -> None:
    """`cancel()` asks; `cancelled()` is true once the coroutine has cleaned up."""
    manager = make_manager()
    endless = Endless()
    future = manager.submit_task(endless.wait(), return_sync_future=True)
    reached(endless.began)
    assert future.cancel()
    with pytest.raises(concurrent.futures.CancelledError):
        future.result()
    assert endless.cleaned.is_set()
    assert future.cancelled()
    assert future.cancel()  # as concurrent.futures has it: it is cancelled


@on_worker
def test_a_coroutine_that_declines_its_cancellation(make_manager: MakeManager) -> None:
    """A coroutine that catches its cancellation and returns has a result, and was not cancelled."""
    manager = make_manager()
    began = threading.Event()

    async def decline() -> str:
        began.set()
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            return "declined"
        raise AssertionError

    future = manager.submit_task(decline(), return_sync_future=True)
    reached(began)
    assert future.cancel()
    assert future.result() == "declined"
    assert not future.cancelled()


@both
@on_worker
def test_cancel_before_the_first_step(make_manager: MakeManager, sync_future: bool) -> None:
    """A task that was cancelled before it began does not begin, and is closed without a warning."""
    manager = make_manager()
    began = threading.Event()

    async def work() -> None:
        began.set()

    async def submit_and_cancel() -> concurrent.futures.Future[None] | SyncFuture[None]:
        # The loop stands still here, so the task cannot begin between the two.
        future = manager.submit_task(work(), return_sync_future=sync_future)
        assert future.cancel()
        return future

    future = manager.run(submit_and_cancel())
    with pytest.raises(concurrent.futures.CancelledError):
        future.result()
    manager.run(asyncio.sleep(0))
    assert not began.is_set()
    assert future.cancelled()


@both
@on_worker
def test_many_at_once(make_manager: MakeManager, sync_future: bool) -> None:
    """Of many tasks from several threads each brings its own result."""
    manager = make_manager()

    def submit(first: int) -> list[int]:
        futures = [
            manager.submit_task(give(number), return_sync_future=sync_future)
            for number in range(first, first + 200)
        ]
        return [future.result() for future in futures]

    workers = [Worker() for _ in range(3)]
    begun = [worker.begin(submit, 1000 * at) for at, worker in enumerate(workers)]
    assert submit(7000) == list(range(7000, 7200))
    for at, (future, worker) in enumerate(zip(begun, workers, strict=True)):
        assert outcome(future) == list(range(1000 * at, 1000 * at + 200))
        worker.end()


@on_worker
def test_nothing_keeps_an_error(make_manager: MakeManager) -> None:
    """An exception that `result()` raised is freed with its frames, without the collector."""
    manager = make_manager()

    class Broken(Exception):
        pass

    async def fail() -> None:
        raise Broken

    gc.disable()
    try:
        try:
            manager.submit_task(fail()).result()
        except Broken as error:
            seen = weakref.ref(error)
        manager.run(give(1))  # the keeper has let go of it by then
        assert seen() is None
    finally:
        gc.enable()
