"""`async_to_sync_future()`: futures of asyncio and of executors, for a thread that waits."""

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
    on_plain_worker,
    on_worker,
    outcome,
    reached,
    throw,
)
from wsgi_async import SyncFuture, async_to_sync_future, current_manager

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.core.conftest import MakeManager
    from wsgi_async import AsyncioLoopManager

CancelledError = concurrent.futures.CancelledError


async def bare() -> asyncio.Future[Any]:
    """A future that nothing will ever end."""
    return asyncio.get_running_loop().create_future()


def end(future: asyncio.Future[Any], how: Callable[[asyncio.Future[Any]], object]) -> None:
    future.get_loop().call_soon_threadsafe(how, future)


class OtherLoop:
    """A loop that is none of ours, in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    def call(self, coro: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coro, self.loop).result(20)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


@pytest.fixture
def other_loop() -> Iterator[OtherLoop]:
    other = OtherLoop()
    yield other
    other.close()


ours_or_not = pytest.mark.parametrize("ours", [True, False], ids=["our loop", "another loop"])


@ours_or_not
@on_worker
def test_a_result(make_manager: MakeManager, other_loop: OtherLoop, ours: bool) -> None:
    """A thread gets the result that comes on the loop."""
    call = make_manager().run if ours else other_loop.call
    future = call(bare())
    sync = async_to_sync_future(future)
    assert isinstance(sync, SyncFuture)
    assert not sync.wait(0)
    end(future, lambda it: it.set_result("page"))
    assert sync.result(20) == "page"
    assert sync.done()


@pytest.mark.parametrize("kind", [LookupError, SystemExit, KeyboardInterrupt])
@ours_or_not
@on_worker
def test_an_exception(
    make_manager: MakeManager, other_loop: OtherLoop, ours: bool, kind: type[BaseException]
) -> None:
    """An exception arrives, one that is no `Exception` too."""
    call = make_manager().run if ours else other_loop.call
    future = call(bare())
    sync = async_to_sync_future(future)
    error = kind("lost")
    end(future, lambda it: it.set_exception(error))
    with pytest.raises(kind) as caught:
        sync.result(20)
    assert caught.value is error


@ours_or_not
@on_worker
def test_a_cancellation(make_manager: MakeManager, other_loop: OtherLoop, ours: bool) -> None:
    """A future that is canceled on its loop is canceled for the thread."""
    call = make_manager().run if ours else other_loop.call
    future = call(bare())
    sync = async_to_sync_future(future)
    end(future, lambda it: it.cancel())
    with pytest.raises(CancelledError):
        sync.result(20)
    assert sync.cancelled()


@ours_or_not
@on_worker
def test_cancelling_the_wrapper(
    make_manager: MakeManager, other_loop: OtherLoop, ours: bool
) -> None:
    """Canceling the wrapper cancels the task, cleanup included, before it counts as canceled."""
    call = make_manager().run if ours else other_loop.call
    endless = Endless()

    async def begin() -> asyncio.Task[Any]:
        return asyncio.create_task(endless.wait())

    sync = async_to_sync_future(call(begin()))
    reached(endless.began)
    assert sync.cancel()
    with pytest.raises(CancelledError):
        sync.result(20)
    assert endless.cleaned.is_set()
    assert sync.cancelled()


@on_worker
def test_cancelling_the_wrapper_too_late(make_manager: MakeManager) -> None:
    """A wrapper that is done cannot be canceled, and says whether it was."""
    manager = make_manager()
    good, gone = (manager.run(bare()) for _ in range(2))
    good.set_result("page")
    gone.cancel()
    done, canceled = async_to_sync_future(good), async_to_sync_future(gone)
    assert not done.cancel()
    assert canceled.cancel()
    assert done.result(0) == "page"


def test_the_source_is_canceled_too_late() -> None:
    """A wrapper that somebody has filled by hand keeps its result."""
    source: concurrent.futures.Future[str] = concurrent.futures.Future()
    wrapped = async_to_sync_future(source)
    wrapped.set_result("by hand")
    source.cancel()
    assert wrapped.result(0) == "by hand"


def test_a_stop_while_a_thread_waits_in_the_loop() -> None:
    """A stop from elsewhere ends the wait of the thread that the loop lives on."""
    waits = threading.Event()

    def wait(manager: AsyncioLoopManager) -> object:
        future = async_to_sync_future(manager.run(bare()))
        manager.get_event_loop().call_soon(waits.set)
        return future.result(LIMIT)

    with Worker(resident=True) as worker:
        manager = worker.call(current_manager)
        waiting = worker.begin(wait, manager)
        reached(waits)
        manager.stop()
        with pytest.raises(RuntimeError, match="was stopped"):
            outcome(waiting)


@on_worker
def test_futures_that_are_done(make_manager: MakeManager) -> None:
    """A future with an outcome can be wrapped, even when its loop is closed by now."""
    manager = make_manager()
    good, bad, gone = (manager.run(bare()) for _ in range(3))

    async def finish() -> None:
        good.set_result("page")
        bad.set_exception(LookupError("lost"))
        gone.cancel()

    manager.run(finish())
    manager.stop()
    assert async_to_sync_future(good).result(0) == "page"
    assert isinstance(async_to_sync_future(bad).exception(0), LookupError)
    assert async_to_sync_future(gone).cancelled()


@on_worker
def test_a_future_of_a_closed_loop(make_manager: MakeManager) -> None:
    """A future that can never be done is refused, and nobody waits for it in vain."""
    manager = make_manager()
    future = manager.run(bare())
    manager.stop()
    with pytest.raises(RuntimeError, match="closed"):
        async_to_sync_future(future)


@on_plain_worker
def test_a_future_of_a_loop_that_is_being_closed(make_manager: MakeManager) -> None:
    """Whoever comes so late is told that the manager was stopped, and does not wait for ever."""
    manager = make_manager()
    future, loop = manager.run(bare()), manager.get_event_loop()
    close, wrapped = loop.close, list[SyncFuture[Any]]()

    def close_late() -> None:
        wrapped.append(in_thread(async_to_sync_future, future))
        close()

    loop.close = close_late  # type: ignore[method-assign]
    manager.stop()
    with pytest.raises(RuntimeError, match="was stopped"):
        wrapped[0].result(LIMIT)


@on_worker
def test_wrapped_in_a_coroutine(make_manager: MakeManager) -> None:
    """Async code on the loop can wrap a future for a thread that waits elsewhere."""
    manager = make_manager()

    async def wrap() -> SyncFuture[str]:
        return async_to_sync_future(asyncio.ensure_future(give("page")))

    assert manager.run(wrap()).result(20) == "page"


@on_worker
def test_of_a_task_that_a_call_left(make_manager: MakeManager) -> None:
    """A thread can wait for a task that an earlier call left on the loop."""
    manager = make_manager()

    async def leave() -> asyncio.Task[str]:
        return asyncio.create_task(asyncio.sleep(0.02, "page"))

    sync = async_to_sync_future(manager.run(leave()))
    assert in_thread(sync.result, 20) == sync.result(20) == "page"


@on_worker
def test_several_threads_wait(make_manager: MakeManager) -> None:
    """Any number of threads may wait for one wrapper."""
    manager = make_manager()
    future = manager.run(bare())
    sync = async_to_sync_future(future)
    with Worker() as one, Worker() as two:
        waiting = [one.begin(sync.result), two.begin(sync.result)]
        end(future, lambda it: it.set_result("page"))
        assert [outcome(result) for result in waiting] == ["page", "page"]


def test_of_an_executors_future() -> None:
    """An executor's future can be wrapped: result, exception and cancellation arrive."""
    futures: list[concurrent.futures.Future[str]] = [concurrent.futures.Future() for _ in range(3)]
    good, bad, gone = (async_to_sync_future(future) for future in futures)
    assert not good.wait(0)
    futures[0].set_result("page")
    futures[1].set_exception(SystemExit(3))
    futures[2].cancel()
    assert good.result(20) == "page"
    assert isinstance(bad.exception(20), SystemExit)
    with pytest.raises(CancelledError):
        gone.result(20)
    assert async_to_sync_future(futures[0]).result(0) == "page"


def test_cancelling_an_executors_future() -> None:
    """Cancelling the wrapper cancels the call that the executor has not begun."""
    future: concurrent.futures.Future[str] = concurrent.futures.Future()
    sync = async_to_sync_future(future)
    assert sync.cancel()
    assert future.cancelled()
    assert sync.cancelled()


@on_worker
def test_of_a_submitted_task(make_manager: MakeManager) -> None:
    """What `submit_task()` returns can be wrapped as well."""
    manager = make_manager()
    assert async_to_sync_future(manager.submit_task(give("page"))).result(20) == "page"
    error = LookupError("lost")
    assert async_to_sync_future(manager.submit_task(throw(error))).exception(20) is error


@pytest.mark.parametrize("wrong", [None, 7, "future", give])
def test_what_is_no_future(wrong: Any) -> None:
    """Anything else is refused, with the two kinds that will do."""
    with pytest.raises(TypeError, match=r"asyncio\.Future"):
        async_to_sync_future(wrong)


@on_worker
def test_a_coroutine_is_no_future(make_manager: MakeManager) -> None:
    """A coroutine is refused too: nobody has said on which loop it should run."""
    coro = give(1)
    with pytest.raises(TypeError):
        async_to_sync_future(coro)  # type: ignore[arg-type]
    coro.close()
