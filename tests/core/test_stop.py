"""`stop()`: everything ends, in order; `test_stop_bounded.py` has what does not want to."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from tests.core.support import (
    LIMIT,
    Endless,
    Stubborn,
    Worker,
    give,
    in_thread,
    on_plain_worker,
    on_worker,
    our_log,
    outcome,
    reached,
    wait_until,
)
from wsgi_async import AsyncioLoopManager, ManagerStateError, SyncFuture

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.core.conftest import LoopFactory, MakeManager


@on_worker
def test_nothing_is_left(make_manager: MakeManager) -> None:
    """On return the tasks have cleaned up, the loop is closed, and no thread of ours runs."""
    before = set(threading.enumerate())
    manager = make_manager()
    loop = manager.get_event_loop()
    task = Endless()
    manager.submit_task(task.wait())
    reached(task.began)
    manager.stop()
    assert task.cleaned.is_set()
    assert loop.is_closed()
    assert set(threading.enumerate()) - before == set()
    assert manager.state == "stopped"
    assert not manager.running


@on_worker
def test_the_threads_are_joined(loop_factory: LoopFactory | None) -> None:
    """When `stop()` returns, no thread of the manager's is even about to end."""
    before = set(threading.enumerate())
    manager = AsyncioLoopManager(loop_factory=loop_factory)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # so that a thread that is not waited for is seen
    try:
        for _ in range(100):
            manager.start()
            manager.stop()
            assert set(threading.enumerate()) - before == set()
    finally:
        sys.setswitchinterval(interval)


@on_worker
def test_as_often_as_one_likes(loop_factory: LoopFactory | None) -> None:
    """A second `stop()` does nothing, nor does one before `start()`."""
    manager = AsyncioLoopManager(loop_factory=loop_factory)
    manager.stop()
    manager.start()
    for _ in range(3):
        manager.stop()
    with pytest.raises(RuntimeError, match="stopped"):
        manager.get_event_loop()


@on_worker
def test_from_several_threads_at_once(make_manager: MakeManager) -> None:
    """Threads that stop the same manager all return when it has stopped."""
    manager = make_manager()
    task = Endless()
    manager.submit_task(task.wait())
    reached(task.began)
    barrier = threading.Barrier(4)

    def stop() -> bool:
        barrier.wait(20)
        manager.stop()
        return task.cleaned.is_set()

    workers = [Worker() for _ in range(4)]
    assert [outcome(future) for future in [one.begin(stop) for one in workers]] == [True] * 4
    for worker in workers:
        worker.end()


@on_worker
def test_tasks_of_every_kind(make_manager: MakeManager) -> None:
    """Submitted tasks, tasks that a call left, and tasks that those start are all cleaned up."""
    manager = make_manager()
    tasks = [Endless() for _ in range(4)]

    async def leave(task: Endless) -> asyncio.Task[Any]:
        return asyncio.create_task(task.wait())

    async def leaves_another() -> None:
        try:
            await tasks[2].wait()
        finally:
            last.append(asyncio.create_task(tasks[3].wait()))

    last: list[asyncio.Task[Any]] = []
    manager.submit_task(tasks[0].wait())
    left = manager.run(leave(tasks[1]))
    manager.submit_task(leaves_another())
    for task in tasks[:3]:
        reached(task.began)
    manager.stop()
    assert [task.cleaned.is_set() for task in tasks[:3]] == [True] * 3
    # It may never have begun, but it is not left hanging.
    assert tasks[3].cleaned.is_set() or not tasks[3].began.is_set()
    assert left.cancelled()


@on_worker
def test_async_generators(make_manager: MakeManager) -> None:
    """An async generator that nobody finished runs its `finally` block, on the loop."""
    manager = make_manager()
    finished = threading.Event()

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            finished.set()

    async def first(numbers: AsyncIterator[int]) -> int:
        return await anext(numbers)

    generator = numbers()
    assert manager.run(first(generator)) == 1
    assert not finished.is_set()
    manager.stop()
    assert finished.is_set()


@on_worker
def test_generators_end_after_the_tasks(make_manager: MakeManager) -> None:
    """A task's cleanup can still use an async generator."""
    manager = make_manager()
    order: list[str] = []
    began = threading.Event()

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            order.append("generator")

    async def use() -> None:
        generator = numbers()
        await anext(generator)
        kept.append(generator)
        try:
            began.set()
            await asyncio.get_running_loop().create_future()
        finally:
            order.append(f"task got {await anext(generator)}")

    kept: list[AsyncIterator[int]] = []
    manager.submit_task(use())
    reached(began)
    manager.stop()
    assert order == ["task got 2", "generator"]


@on_worker
def test_the_default_executor(make_manager: MakeManager) -> None:
    """The executor of `asyncio.to_thread` is shut down, and its threads have ended."""
    manager = make_manager()
    thread = manager.run(asyncio.to_thread(threading.current_thread))
    assert thread.is_alive()
    manager.stop()
    assert not thread.is_alive()


class Noted(ThreadPoolExecutor):
    """Notes whether those who end it wait for its threads."""

    def __init__(self) -> None:
        super().__init__(2)
        self.waited: list[bool] = []

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        super().shutdown(wait, cancel_futures=cancel_futures)
        self.waited.append(wait)


@on_worker
def test_an_executor_of_the_user(make_manager: MakeManager) -> None:
    """A stop waits for the threads of a default executor that the user has set."""
    executor = Noted()
    manager = make_manager(
        on_start=lambda: asyncio.get_running_loop().set_default_executor(executor)
    )
    thread = manager.run(asyncio.to_thread(threading.current_thread))
    manager.stop()
    assert executor.waited[0]
    assert not thread.is_alive()


@on_plain_worker
def test_a_stop_in_a_thread_of_the_users_executor(caplog: pytest.LogCaptureFixture) -> None:
    """A stop does not wait for the very thread that has called it."""
    manager = AsyncioLoopManager(
        on_start=lambda: asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(2))
    )
    manager.start()
    stopping: SyncFuture[None] = manager.submit_task(asyncio.to_thread(manager.stop, LIMIT))
    with pytest.raises(ManagerStateError):
        stopping.result(LIMIT)
    wait_until(lambda: manager.state == "stopped", "the manager was not stopped")
    assert our_log(caplog) == []


@on_worker
def test_cleanup_may_use_the_executor(make_manager: MakeManager) -> None:
    """A task's cleanup can still call `asyncio.to_thread`: the executor ends after it."""
    manager = make_manager()
    began, cleaned = threading.Event(), threading.Event()

    async def use() -> None:
        try:
            began.set()
            await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.to_thread(cleaned.set)

    manager.submit_task(use())
    reached(began)
    manager.stop()
    assert cleaned.is_set()


@on_worker
def test_an_error_in_a_cleanup_stops_nothing_else(make_manager: MakeManager) -> None:
    """One task that fails in its `finally` does not keep the others from theirs."""
    manager = make_manager()
    tasks = [Endless() for _ in range(3)]

    async def fail(task: Endless) -> None:
        try:
            await task.wait()
        finally:
            raise LookupError("in the cleanup")

    futures = [manager.submit_task(fail(task)) for task in tasks]
    for task in tasks:
        reached(task.began)
    loop = manager.get_event_loop()
    manager.stop()
    assert [task.cleaned.is_set() for task in tasks] == [True] * 3
    assert [type(future.exception()) for future in futures] == [LookupError] * 3
    assert loop.is_closed()


@on_plain_worker
def test_an_exit_in_a_done_callback_stops_nothing_else(
    make_manager: MakeManager, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, and all who wait for the manager are told that it was stopped."""
    manager = make_manager()
    tasks = [Stubborn() for _ in range(4)]

    def leave(_: object) -> None:
        raise SystemExit

    for task in tasks:
        manager.submit_task(task.wait()).add_done_callback(leave)
    late = [manager.submit_task(task.wait()) for task in tasks]
    for task in tasks:
        reached(task.began)
    loop = manager.get_event_loop()
    manager.stop(timeout=0.2)
    assert loop.is_closed()
    for future in late:
        with pytest.raises(RuntimeError, match="was stopped"):
            future.result(LIMIT)
    assert sum("A done callback" in line for line in our_log(caplog)) == len(tasks)


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
@on_worker
def test_an_exit_in_a_cleanup_stops_nothing_else(
    make_manager: MakeManager, kind: type[BaseException]
) -> None:
    """Not even SystemExit in a `finally` keeps the manager from stopping."""
    manager = make_manager()
    tasks = [Endless() for _ in range(2)]

    async def fail() -> None:
        try:
            await tasks[0].wait()
        finally:
            raise kind

    async def leave_an_untracked_one() -> asyncio.Task[None]:
        return asyncio.create_task(fail_untracked())

    async def fail_untracked() -> None:
        try:
            await tasks[1].wait()
        finally:
            raise kind

    future = manager.submit_task(fail())
    left = manager.run(leave_an_untracked_one())
    for task in tasks:
        reached(task.began)
    loop = manager.get_event_loop()
    manager.stop()
    assert loop.is_closed()
    assert [task.cleaned.is_set() for task in tasks] == [True] * 2
    assert isinstance(future.exception(), kind)
    assert isinstance(left.exception(), kind)


@on_worker
def test_while_its_thread_waits(make_manager: MakeManager) -> None:
    """A stop from elsewhere ends the call that the owner is in."""
    manager = make_manager()
    task = Endless()
    stopper = Worker()

    def stop() -> None:
        reached(task.began)
        manager.stop()

    stopping = stopper.begin(stop)
    with pytest.raises(RuntimeError, match="stopped"):
        manager.run(task.wait())
    outcome(stopping)
    assert task.cleaned.is_set()
    stopper.end()


@on_worker
def test_in_a_coroutine(make_manager: MakeManager) -> None:
    """A loop cannot wait for its own end: `stop()` in a coroutine is refused, on any loop."""
    manager = make_manager()

    async def stop() -> None:
        manager.stop()

    with pytest.raises(RuntimeError, match="await"):
        manager.run(stop())
    with pytest.raises(RuntimeError, match="await"):
        manager.submit_task(stop()).result()
    with pytest.raises(RuntimeError, match="await"):
        in_thread(lambda: asyncio.run(stop()))
    assert manager.run(give("lives on")) == "lives on"


@on_worker
def test_from_async_code_in_a_thread(make_manager: MakeManager) -> None:
    """Another thread's loop can stop it with `asyncio.to_thread`, as the error advises."""
    manager = make_manager()

    async def stop() -> None:
        await asyncio.to_thread(manager.stop)

    with Worker() as other:
        outcome(other.begin(asyncio.run, stop()))
    assert manager.state == "stopped"


@on_worker
def test_the_loop_is_freed(loop_factory: LoopFactory | None) -> None:
    """A stopped manager holds neither its loop nor what was on it."""
    manager = AsyncioLoopManager(loop_factory=loop_factory)
    manager.start()
    manager.run(give(1))
    seen = weakref.ref(manager.get_event_loop())
    manager.stop()
    gc.collect()
    assert seen() is None


@pytest.mark.parametrize("wrong", ["soon", float("nan")])
@on_worker
def test_a_timeout_that_cannot_be_used(make_manager: MakeManager, wrong: Any) -> None:
    """A slip in the timeout is told, and the manager runs on."""
    manager = make_manager()
    with pytest.raises((TypeError, ValueError), match="timeout"):
        manager.stop(timeout=wrong)
    assert manager.run(give(1)) == 1


@on_worker
def test_a_thread_of_the_loop_may_wait_for_the_loop_to_its_last(make_manager: MakeManager) -> None:
    """A function in `to_thread()` that waits for a coroutine at the end of the loop gets it."""
    manager = make_manager()
    entered, go_on = threading.Event(), threading.Event()
    found: list[str] = []
    kept: list[AsyncIterator[None]] = []

    def save(loop: asyncio.AbstractEventLoop) -> None:
        entered.set()
        assert go_on.wait(LIMIT)
        found.append(asyncio.run_coroutine_threadsafe(give("saved"), loop).result(LIMIT))

    async def generator() -> AsyncIterator[None]:
        try:
            yield
        finally:
            go_on.set()  # the stop has ended all tasks, and is at the last step before the executor

    async def work() -> None:
        kept.append(generator())
        await anext(kept[0])
        await asyncio.to_thread(save, asyncio.get_running_loop())

    manager.submit_task(work())
    reached(entered)
    manager.stop()
    assert found == ["saved"]
