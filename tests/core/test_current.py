"""`current_manager()` and `run()`: the manager that a thread uses when nobody says which."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pytest

import wsgi_async
from tests.core.support import (
    BEGIN,
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
    where,
)
from wsgi_async import (
    AsyncioLoopManager,
    LoopThreadPoolExecutor,
    async_to_sync,
    current_manager,
    get_or_create_loop_manager,
    loop_resource,
)
from wsgi_async.core.managers.current import request_manager

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.core.conftest import LoopFactory, MakeManager


def in_request(manager: AsyncioLoopManager, fn: Callable[[], Any]) -> Any:
    """Call a function as the middleware does in a request that has this manager."""
    context = contextvars.copy_context()
    context.run(request_manager.set, weakref.ref(manager))
    return context.run(fn)


# -- which one -----------------------------------------------------------------------------------


@on_worker
def test_a_new_one() -> None:
    """Where there is none, one is made, started, and found again."""
    manager = current_manager()
    assert manager.running
    assert manager.id is None
    assert current_manager() is manager
    assert get_or_create_loop_manager() is manager


@on_worker
def test_the_threads_own() -> None:
    """A manager that the thread has is used, and started if need be."""
    own = get_or_create_loop_manager()
    assert not own.running
    assert current_manager() is own
    assert own.running


@on_worker
def test_the_lineages() -> None:
    """A thread without one uses that of the thread which has started it, or of one above."""
    above = current_manager()
    assert in_thread(current_manager) is above
    assert in_thread(in_thread, current_manager) is above


@on_worker
def test_the_threads_own_before_the_lineages() -> None:
    """The nearest one counts."""
    above = current_manager()

    def below() -> None:
        own = get_or_create_loop_manager(None, force_create=True)
        own.start()
        assert current_manager() is own
        assert own is not above

    in_thread(below)
    assert current_manager() is above


@on_worker
def test_the_requests_before_the_threads_own(make_manager: MakeManager) -> None:
    """In a request its manager comes first, whatever id it has."""
    own, requests = make_manager(), make_manager("web")
    assert in_request(requests, current_manager) is requests
    assert current_manager() is own


@on_worker
def test_a_thread_of_a_coroutine_is_in_the_request(make_manager: MakeManager) -> None:
    """Sync code that a request's coroutine hands to a thread has the request's manager too."""
    make_manager()
    requests = make_manager("web")

    def view() -> AsyncioLoopManager:
        return requests.run(asyncio.to_thread(current_manager))

    assert in_request(requests, view) is requests


@on_worker
def test_ids_are_none_of_its_business(make_manager: MakeManager) -> None:
    """A manager with an id is used where it is asked for by that id, or in its request."""
    other = make_manager("other")
    assert current_manager() is not other


@on_worker
def test_under_a_loop_of_somebody_else() -> None:
    """In a coroutine on a loop that is no manager's, it is the thread's own."""

    async def find() -> AsyncioLoopManager:
        return current_manager()

    manager = asyncio.run(find())
    assert manager.running
    assert current_manager() is manager


@pytest.mark.parametrize("gone", ["stopped", "collected"])
@on_worker
def test_a_request_whose_manager_is_gone(gone: str) -> None:
    """What outlives a request, and its manager, goes on with the thread's own."""
    requests = AsyncioLoopManager("web")
    requests.start()
    context = contextvars.copy_context()
    context.run(request_manager.set, weakref.ref(requests))
    requests.stop()
    if gone == "collected":
        del requests
    own = context.run(current_manager)
    assert own.running
    assert own.id is None


def test_below_a_thread_that_a_loop_lives_on() -> None:
    """That loop's thread may be busy, or wait for this very thread, which gets its own."""
    with Worker(resident=True) as worker:

        def view() -> None:
            mine = current_manager()
            assert mine.run(where()) is threading.current_thread()
            with Worker() as below:
                theirs = below.begin(current_manager).result(LIMIT)  # blocks this thread
                assert theirs is not mine
                assert below.begin(wsgi_async.run, give("page")).result(LIMIT) == "page"

        worker.call(view)


def test_in_the_request_of_such_a_thread() -> None:
    """Neither does sync code in a thread of its request's use a loop that may be busy."""
    with Worker(resident=True) as worker:

        def view() -> None:
            requests = current_manager()
            with Worker() as other:
                found = other.begin(in_request, requests, current_manager).result(LIMIT)
                assert found is not requests

        worker.call(view)


def test_a_pool_with_managers() -> None:
    """Each thread of a `LoopThreadPoolExecutor` has a manager, whose loop lives on it."""
    with LoopThreadPoolExecutor(1) as pool:
        thread = pool.submit(threading.current_thread).result(LIMIT)
        assert pool.submit(lambda: current_manager().run(where())).result(LIMIT) is thread


@on_worker
def test_everybody_means_the_same(make_manager: MakeManager) -> None:
    """`run()`, `async_to_sync` and `loop_resource` use one loop, in a request and elsewhere."""
    own, requests = make_manager(), make_manager("web")

    async def loop() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    @loop_resource
    async def resource() -> AsyncIterator[asyncio.AbstractEventLoop]:
        yield asyncio.get_running_loop()

    def loops() -> set[asyncio.AbstractEventLoop]:
        return {wsgi_async.run(loop()), async_to_sync(loop)(), resource.get()}

    assert loops() == {own.get_event_loop()}
    assert in_request(requests, loops) == {requests.get_event_loop()}


# -- run() ---------------------------------------------------------------------------------------


@on_worker
def test_run() -> None:
    """`wsgi_async.run()` takes the place of `asyncio.run()`, on a loop that stays open."""

    async def loop() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    assert wsgi_async.run(give("page")) == "page"
    with pytest.raises(LookupError):
        wsgi_async.run(throw(LookupError()))
    assert wsgi_async.run(loop()) is wsgi_async.run(loop())
    assert wsgi_async.run(loop()) is current_manager().get_event_loop()


@on_worker
def test_run_with_a_timeout() -> None:
    """The coroutine is canceled and cleaned up when the time has passed."""
    endless = Endless()
    with pytest.raises(TimeoutError):
        wsgi_async.run(endless.wait(), timeout=BEGIN)
    assert endless.cleaned.is_set()


@on_worker
def test_run_of_a_typed_manager() -> None:
    """The thread's manager may have been started for a task type: it is not asked for again."""
    get_or_create_loop_manager().start("mail")
    assert wsgi_async.run(give("page")) == "page"


@on_worker
def test_run_in_a_coroutine() -> None:
    """Where an event loop runs it is refused, and the coroutine is closed."""

    async def nested() -> None:
        coro = give(1)
        with pytest.raises(RuntimeError, match="await"):
            wsgi_async.run(coro)
        assert inspect.getcoroutinestate(coro) == inspect.CORO_CLOSED

    wsgi_async.run(nested())
    asyncio.run(nested())


@on_worker
def test_run_of_no_coroutine_in_a_coroutine() -> None:
    """What cannot be closed is refused there with the same error."""

    async def call() -> None:
        with pytest.raises(RuntimeError, match="await the coroutine itself"):
            wsgi_async.run(5)  # type: ignore[arg-type]

    asyncio.run(call())


def test_run_without_a_manager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where none can be made the coroutine is closed, and the error is what it was."""

    def fail() -> AsyncioLoopManager:
        raise OSError("no descriptors")

    monkeypatch.setattr("wsgi_async.core.managers.current.current_manager", fail)
    coro = give(1)
    with pytest.raises(OSError, match="no descriptors"):
        wsgi_async.run(coro)
    assert inspect.getcoroutinestate(coro) == inspect.CORO_CLOSED


@on_worker
def test_run_from_threads_that_share_a_manager() -> None:
    """Threads that have none of their own may come at once: one manager is made and started."""
    get_or_create_loop_manager()
    barrier = threading.Barrier(4)

    def use() -> AsyncioLoopManager:
        barrier.wait(LIMIT)
        assert wsgi_async.run(give("page")) == "page"
        return current_manager()

    workers = [Worker() for _ in range(4)]
    found = {outcome(future) for future in [worker.begin(use) for worker in workers]}
    assert found == {current_manager()}
    for worker in workers:
        worker.end()


# -- a manager in a with statement ---------------------------------------------------------------


@on_worker
def test_a_manager_in_a_with_statement(loop_factory: LoopFactory | None) -> None:
    """It is started for the block and stopped after it, with what is on it."""
    task = Endless()
    with AsyncioLoopManager("mine", loop_factory=loop_factory) as loop:
        assert isinstance(loop, AsyncioLoopManager)
        assert get_or_create_loop_manager("mine", strictly_get=True) is loop
        assert loop.run(give("page")) == "page"
        loop.submit_task(task.wait())
        reached(task.began)
    assert task.cleaned.is_set()
    assert loop.state == "stopped"
    with loop:
        assert loop.run(give("again")) == "again"


@on_worker
def test_an_error_in_a_with_statement(loop_factory: LoopFactory | None) -> None:
    """The block's error goes on, and the manager is stopped all the same."""
    with pytest.raises(LookupError), AsyncioLoopManager(loop_factory=loop_factory) as loop:
        loop.run(throw(LookupError()))
    wait_until(lambda: loop.state == "stopped", "it is stopped")


@on_worker
def test_a_started_one_in_a_with_statement(make_manager: MakeManager) -> None:
    """A manager that runs already is not taken over, nor stopped."""
    manager = make_manager()
    with pytest.raises(RuntimeError, match="already started"), manager:
        pytest.fail("entered")
    assert manager.run(give("lives on")) == "lives on"
