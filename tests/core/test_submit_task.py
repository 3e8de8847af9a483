"""`submit_task()`: work that outlives the call, and the future that it comes with."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import sysconfig
import threading
import weakref
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
    wait_until,
)
from wsgi_async import SyncFuture

if TYPE_CHECKING:
    from tests.core.conftest import MakeManager


@on_worker
def test_there_is_one_kind_of_future(make_manager: MakeManager) -> None:
    """Whatever `return_sync_future` is, it is a `SyncFuture`, and a `concurrent.futures.Future`."""
    manager = make_manager()
    futures = [
        manager.submit_task(give(1)),
        manager.submit_task(give(1), False),
        manager.submit_task(give(1), True),
        manager.submit_task(give(1), return_sync_future=True),
    ]
    assert {type(future) for future in futures} == {SyncFuture}
    assert isinstance(futures[0], concurrent.futures.Future)
    assert [future.result() for future in futures] == [1] * 4


@on_worker
def test_result_and_exception(make_manager: MakeManager) -> None:
    """The future has what the coroutine returned or raised."""
    manager = make_manager()
    error = LookupError("no such page")
    good = manager.submit_task(give("page"))
    assert (good.result(), good.exception()) == ("page", None)
    bad = manager.submit_task(throw(error))
    with pytest.raises(LookupError) as caught:
        bad.result()
    assert caught.value is error
    assert bad.exception() is error


@on_worker
def test_it_starts_by_itself(make_manager: MakeManager) -> None:
    """A task begins with nobody waiting for it.

    On a keeper that is at once; on a resident thread, as soon as that waits for anything.
    """
    manager = make_manager()
    task = Endless()
    manager.submit_task(task.wait())
    reached(task.began)


@on_worker
def test_a_resident_loop_stands_still_while_its_thread_computes(
    make_manager: MakeManager, runner: str
) -> None:
    """A keeper takes a task up while the submitter goes on; a resident thread has to wait first."""
    manager = make_manager()
    task = Endless()
    manager.submit_task(task.wait())
    began = task.began.wait(LIMIT if runner == "keeper" else 0.05)  # blocks this thread
    assert began == (runner == "keeper")
    reached(task.began)


@on_worker
def test_it_returns_at_once(make_manager: MakeManager) -> None:
    """The caller goes on while the task has no end in sight."""
    task = Endless()
    future = make_manager().submit_task(task.wait())
    assert not future.done()


@on_worker
def test_from_within_a_coroutine(make_manager: MakeManager) -> None:
    """Async code may submit to its own manager; the task is then stepped beside it."""
    manager = make_manager()
    met = asyncio.Event()

    async def partner() -> str:
        met.set()
        return "met"

    async def meet() -> SyncFuture[str]:
        future = manager.submit_task(partner())
        await met.wait()
        return future

    assert manager.run(meet(), timeout=10).result() == "met"


@on_worker
def test_from_any_thread(make_manager: MakeManager) -> None:
    """A thread that does not own the manager may submit to it, and wait."""
    manager = make_manager()

    def stranger() -> str:
        return manager.submit_task(give("page")).result()

    assert in_thread(stranger) == "page"


@on_worker
def test_it_outlives_the_call(make_manager: MakeManager) -> None:
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

    manager.submit_task(work())
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
def test_cancel_asks(make_manager: MakeManager) -> None:
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


@on_worker
def test_cancel_before_the_first_step(make_manager: MakeManager) -> None:
    """A task that was canceled before it began does not begin, and is closed without a warning."""
    manager = make_manager()
    began = threading.Event()

    async def work() -> None:
        began.set()

    async def submit_and_cancel() -> SyncFuture[None]:
        # The loop stands still here, so the task cannot begin between the two.
        future = manager.submit_task(work())
        assert future.cancel()
        return future

    future = manager.run(submit_and_cancel())
    with pytest.raises(concurrent.futures.CancelledError):
        future.result()
    manager.run(asyncio.sleep(0))
    assert not began.is_set()
    assert future.cancelled()


@on_worker
def test_many_at_once(make_manager: MakeManager) -> None:
    """Of many tasks from several threads each brings its own result."""
    manager = make_manager()

    def submit(first: int) -> list[int]:
        futures = [manager.submit_task(give(number)) for number in range(first, first + 200)]
        return [future.result() for future in futures]

    workers = [Worker() for _ in range(3)]
    begun = [worker.begin(submit, 1000 * at) for at, worker in enumerate(workers)]
    assert submit(7000) == list(range(7000, 7200))
    for at, (future, worker) in enumerate(zip(begun, workers, strict=True)):
        assert outcome(future) == list(range(1000 * at, 1000 * at + 200))
        worker.end()


def raised(future: SyncFuture[None]) -> weakref.ref[BaseException]:
    try:
        return weakref.ref(future.result())  # type: ignore[arg-type]
    except LookupError as error:
        return weakref.ref(error)
    finally:
        del future  # as whoever holds it holds the exception


def returned(future: SyncFuture[None]) -> weakref.ref[BaseException]:
    try:
        assert future.wait()
        return weakref.ref(future.exception())  # type: ignore[arg-type]
    finally:
        del future


@pytest.mark.parametrize("ask", [raised, returned])
@on_worker
def test_nothing_keeps_an_error(make_manager: MakeManager, ask: Any) -> None:
    """An exception that somebody has had is freed with its frames, without the collector."""
    manager = make_manager()

    class Broken(LookupError):
        pass

    async def fail() -> None:
        raise Broken

    gc.disable()
    try:
        seen = ask(manager.submit_task(fail()))
        manager.run(give(1))  # a keeper has let go of it by then
        if sysconfig.get_config_var("Py_GIL_DISABLED"):
            # A thread frees what it has made, and another has had, when it gets round to it.
            wait_until(lambda: manager.run(give(1)) == 1 and seen() is None, "it is kept")
        assert seen() is None
    finally:
        gc.enable()


@on_worker
def test_whether_it_runs(make_manager: MakeManager) -> None:
    """`running()` is true from the coroutine's begin to its end."""
    task = Endless()
    future = make_manager().submit_task(task.wait())
    reached(task.began)
    assert future.running()
    future.cancel()
    assert future.wait()
    assert not future.running()
    assert not SyncFuture().running()
