"""What a blocked caller gets: every way to wait, in every situation that the contract names."""

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
    our_log,
    outcome,
    reached,
    throw,
    where,
)
from wsgi_async import (
    AsyncioLoopManager,
    ManagerStateError,
    TaskCancelledError,
    async_to_sync_future,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from tests.core.conftest import MakeManager

    Wait = Callable[[AsyncioLoopManager, Coroutine[Any, Any, Any]], Any]


def run(manager: AsyncioLoopManager, coro: Coroutine[Any, Any, Any]) -> Any:
    """The manager's own thread waits."""
    return manager.run(coro)


def run_with_timeout(manager: AsyncioLoopManager, coro: Coroutine[Any, Any, Any]) -> Any:
    return manager.run(coro, timeout=LIMIT)


def run_elsewhere(manager: AsyncioLoopManager, coro: Coroutine[Any, Any, Any]) -> Any:
    """A thread that does not own the manager waits."""
    return in_thread(manager.run, coro)


def run_beside_work(manager: AsyncioLoopManager, coro: Coroutine[Any, Any, Any]) -> Any:
    """The loop has other work meanwhile."""
    busy = Endless()
    manager.submit_task(busy.wait())
    reached(busy.began)
    return manager.run(coro)


def future(manager: AsyncioLoopManager, coro: Coroutine[Any, Any, Any]) -> Any:
    return manager.submit_task(coro).result()


def future_elsewhere(manager: AsyncioLoopManager, coro: Coroutine[Any, Any, Any]) -> Any:
    return in_thread(manager.submit_task(coro).result)


runs = [run, run_with_timeout, run_elsewhere, run_beside_work]
futures = [future, future_elsewhere]
every_wait = pytest.mark.parametrize("wait", [*runs, *futures])


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
@every_wait
@on_worker
def test_system_exit_in_the_coroutine(
    make_manager: MakeManager, wait: Wait, kind: type[BaseException]
) -> None:
    """The waiter gets it; the loop and its thread live on, with whatever else they have."""
    manager = make_manager()
    loop, other = manager.get_event_loop(), Endless()
    manager.submit_task(other.wait())
    reached(other.began)
    thread = manager.run(where())
    error = kind("enough")
    with pytest.raises(kind) as caught:
        wait(manager, throw(error))
    assert caught.value is error
    assert manager.run(give("lives on")) == "lives on"
    assert manager.run(where()) is thread
    assert manager.get_event_loop() is loop
    assert not other.cleaned.is_set()


async def cancel_oneself() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)


async def raise_cancelled() -> None:
    raise asyncio.CancelledError


@pytest.mark.parametrize("coroutine", [cancel_oneself, raise_cancelled])
@pytest.mark.parametrize("wait", runs)
@on_worker
def test_run_is_cancelled(
    make_manager: MakeManager, wait: Wait, coroutine: Callable[[], Coroutine[Any, Any, None]]
) -> None:
    """`run()` of a coroutine that is canceled raises asyncio's error, as an await would.

    It is an `Exception` as well: frameworks answer those, and servers end their worker on others.
    """
    manager = make_manager()
    with pytest.raises(asyncio.CancelledError) as caught:
        wait(manager, coroutine())
    assert type(caught.value) is TaskCancelledError
    assert isinstance(caught.value, Exception)
    assert isinstance(caught.value, concurrent.futures.CancelledError)
    assert manager.run(give("lives on")) == "lives on"


@pytest.mark.parametrize("coroutine", [cancel_oneself, raise_cancelled])
@pytest.mark.parametrize("wait", futures)
@on_worker
def test_a_future_is_cancelled(
    make_manager: MakeManager, wait: Wait, coroutine: Callable[[], Coroutine[Any, Any, None]]
) -> None:
    """A future of one raises the error that futures of threads have."""
    manager = make_manager()
    with pytest.raises(concurrent.futures.CancelledError):
        wait(manager, coroutine())
    assert manager.run(give("lives on")) == "lives on"


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
@every_wait
@on_worker
def test_somebody_elses_system_exit(
    make_manager: MakeManager,
    wait: Wait,
    kind: type[BaseException],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Another task's SystemExit does not hit the waiting thread or the loop's; it is logged."""
    manager = make_manager()

    async def start_one_that_exits() -> str:
        other = asyncio.create_task(throw(kind("not yours")))
        await asyncio.wait([other])
        assert isinstance(other.exception(), kind)
        return await give("mine")

    assert wait(manager, start_one_that_exits()) == "mine"
    assert manager.run(give("lives on")) == "lives on"
    assert kind.__name__ in "".join(our_log(caplog))


@every_wait
@on_worker
def test_somebody_elses_system_exit_with_a_waiter(make_manager: MakeManager, wait: Wait) -> None:
    """A submitted task's SystemExit goes to its own waiter, whoever runs the loop."""
    manager = make_manager()
    error = SystemExit("not yours")

    async def submit_one_that_exits() -> concurrent.futures.Future[Any]:
        other = manager.submit_task(throw(error))
        for _ in range(5):
            await asyncio.sleep(0)
        return other

    other = wait(manager, submit_one_that_exits())
    with pytest.raises(SystemExit) as caught:
        other.result()
    assert caught.value is error


@every_wait
@on_worker
def test_loop_stop(make_manager: MakeManager, wait: Wait, caplog: pytest.LogCaptureFixture) -> None:
    """User code that calls `loop.stop()` is ignored and told once; the loop goes on."""
    manager = make_manager()

    async def stop_the_loop() -> str:
        for _ in range(3):
            asyncio.get_running_loop().stop()
            await asyncio.sleep(0.001)
        return "went on"

    assert wait(manager, stop_the_loop()) == "went on"
    assert wait(manager, stop_the_loop()) == "went on"
    assert len([line for line in our_log(caplog) if "stop()" in line]) == 1


@every_wait
@on_worker
def test_a_stop_wakes_it(make_manager: MakeManager, wait: Wait) -> None:
    """Who waits when the manager is stopped gets a RuntimeError, from the CancelledError."""
    manager = make_manager("shared")
    task = Endless()
    with Worker() as stopper:

        def stop() -> None:
            reached(task.began)
            manager.stop()

        stopping = stopper.begin(stop)
        with pytest.raises(RuntimeError, match="was stopped") as caught:
            wait(manager, task.wait())
        outcome(stopping)
    assert isinstance(caught.value.__cause__, asyncio.CancelledError)
    assert "'shared'" in str(caught.value)
    assert task.cleaned.is_set()


@every_wait
def test_the_end_of_the_owner_wakes_it(make_manager: MakeManager, wait: Wait, runner: str) -> None:
    """Who waits from another thread when the owner ends is woken in the same way."""
    owner = Worker(resident=runner == "resident")
    manager = owner.call(make_manager)
    task = Endless()
    with Worker() as other:
        waiting = other.begin(wait, manager, task.wait())
        reached(task.began)
        owner.end()
        error = waiting.exception(LIMIT)
    assert isinstance(error, RuntimeError)
    assert "was stopped" in str(error)
    assert isinstance(error.__cause__, asyncio.CancelledError)


@on_worker
def test_a_stop_wakes_who_waits_for_a_bare_future(make_manager: MakeManager) -> None:
    """A future of the loop that no task will end does not keep its waiter for ever either."""
    manager = make_manager()

    async def bare() -> asyncio.Future[str]:
        return asyncio.get_running_loop().create_future()

    sync = async_to_sync_future(manager.run(bare()))
    with Worker() as one, Worker() as two:
        waiting: list[concurrent.futures.Future[Any]]
        waiting = [one.begin(sync.result), two.begin(sync.exception)]
        manager.stop()
        for each in waiting:
            concurrent.futures.wait([each], LIMIT)
        assert isinstance(waiting[0].exception(0), RuntimeError)
        assert isinstance(waiting[1].result(0), RuntimeError)
    with pytest.raises(RuntimeError, match="was stopped"):
        sync.result()


@pytest.mark.parametrize("submitted", [False, True], ids=["left by a call", "submitted"])
@on_worker
def test_a_stop_wakes_who_waits_for_a_wrapped_task(
    make_manager: MakeManager, submitted: bool
) -> None:
    """A thread that waits through `async_to_sync_future` gets the same error as the others."""
    manager, task = make_manager(), Endless()

    async def leave() -> asyncio.Task[Any]:
        return asyncio.create_task(task.wait())

    source = manager.submit_task(task.wait()) if submitted else manager.run(leave())
    sync = async_to_sync_future(source)
    reached(task.began)
    with Worker() as other:
        waiting = other.begin(sync.result)
        manager.stop()
        error = waiting.exception(LIMIT)
    assert isinstance(error, RuntimeError)
    assert "was stopped" in str(error)
    assert isinstance(error.__cause__, asyncio.CancelledError)


@on_worker
def test_a_stop_wakes_many(make_manager: MakeManager) -> None:
    """However many threads wait, and whatever for, none is left hanging."""
    manager = make_manager()
    shared, tasks = Endless(), [Endless() for _ in range(4)]
    future, other = manager.submit_task(shared.wait()), manager.submit_task(tasks[0].wait())
    workers = [Worker() for _ in range(7)]
    waiting = [
        *(worker.begin(future.result) for worker in workers[:3]),
        workers[3].begin(other.result),
        *(
            worker.begin(manager.run, task.wait())
            for worker, task in zip(workers[4:], tasks[1:], strict=True)
        ),
    ]
    for task in [shared, *tasks]:
        reached(task.began)
    manager.stop()
    assert [type(each.exception(LIMIT)) for each in waiting] == [ManagerStateError] * 7
    for worker in workers:
        worker.end()


@on_worker
def test_a_result_before_the_stop_stays(make_manager: MakeManager) -> None:
    """What was done when the manager stopped keeps its result."""
    manager = make_manager()
    done = manager.submit_task(give("page"))
    assert done.result() == "page"
    manager.stop()
    assert done.result() == "page"


@every_wait
@on_worker
def test_a_coroutine_that_ends_in_spite_of_the_stop(make_manager: MakeManager, wait: Wait) -> None:
    """A coroutine that catches its cancellation and returns in time gives its waiter the result."""
    manager = make_manager()
    began = threading.Event()

    async def finish_up() -> str:
        began.set()
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            return "finished up"
        raise AssertionError

    with Worker() as stopper:

        def stop() -> None:
            reached(began)
            manager.stop()

        stopping = stopper.begin(stop)
        assert wait(manager, finish_up()) == "finished up"
        outcome(stopping)
