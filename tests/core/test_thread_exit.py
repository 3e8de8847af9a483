"""The end of a thread: its managers stop, without that thread, and its end waits for nothing."""

from __future__ import annotations

import asyncio
import gc
import inspect
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.core.support import (
    LIMIT,
    Endless,
    Stubborn,
    Worker,
    give,
    in_process,
    in_thread,
    on_worker,
    reached,
    wait_until,
)
from wsgi_async import AsyncioLoopManager, get_or_create_loop_manager

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.core.conftest import LoopFactory, MakeManager


def use_and_leave(
    make: Callable[[], AsyncioLoopManager], task: Endless
) -> tuple[AsyncioLoopManager, asyncio.AbstractEventLoop, threading.Thread]:
    """What a worker thread does in its life: a manager, a task on it that has no end."""
    manager = make()
    manager.run(give(1))
    manager.submit_task(task.wait())
    reached(task.began)
    return manager, manager.get_event_loop(), threading.current_thread()


def check_ended(manager: AsyncioLoopManager, loop: Any, task: Endless) -> None:
    reached(task.cleaned)
    wait_until(lambda: manager.state == "stopped", "the manager is stopped")
    assert loop.is_closed()
    with pytest.raises(RuntimeError, match="stopped"):
        manager.run(give(1))


def test_a_thread(make_manager: MakeManager, runner: str) -> None:
    """When a thread ends, what its manager runs is cleaned up and the loop is closed."""
    task = Endless()
    with Worker(resident=runner == "resident") as owner:
        manager, loop, _ = owner.call(use_and_leave, make_manager, task)
        assert not task.cleaned.is_set()
    check_ended(manager, loop, task)


def test_a_thread_of_an_executor(make_manager: MakeManager) -> None:
    """It is the same in a ThreadPoolExecutor, which keeps its threads' objects."""
    task = Endless()
    pool = ThreadPoolExecutor(1)
    manager, loop, thread = pool.submit(use_and_leave, make_manager, task).result(LIMIT)
    assert not task.cleaned.is_set()
    pool.shutdown()
    assert not thread.is_alive()
    check_ended(manager, loop, task)
    del pool


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_fails(make_manager: MakeManager) -> None:
    """A thread that an exception ends takes its managers with it as well."""
    task = Endless()
    left: list[Any] = []

    def fail() -> None:
        left.append(use_and_leave(make_manager, task))
        raise LookupError("nobody caught it")

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join(LIMIT)
    check_ended(left[0][0], left[0][1], task)


def test_all_managers_of_a_thread(loop_factory: LoopFactory | None, runner: str) -> None:
    """Every manager that a thread has started ends with it, found by an id or made by hand.

    The first one's loop may live on the thread; the others have keepers then.
    """
    tasks = [Endless() for _ in range(4)]

    def make_all() -> list[tuple[AsyncioLoopManager, Any, Any]]:
        def found() -> AsyncioLoopManager:
            manager = get_or_create_loop_manager("found", loop_factory=loop_factory)
            manager.start()
            return manager

        def displacing() -> AsyncioLoopManager:
            manager = get_or_create_loop_manager("found", True, loop_factory=loop_factory)
            manager.start()
            return manager

        def by_hand() -> AsyncioLoopManager:
            manager = AsyncioLoopManager(loop_factory=loop_factory)
            manager.start()
            return manager

        makes = [found, displacing, by_hand, by_hand]
        return [use_and_leave(make, task) for make, task in zip(makes, tasks, strict=True)]

    with Worker(resident=runner == "resident") as owner:
        made = owner.call(make_all)
    for (manager, loop, _), task in zip(made, tasks, strict=True):
        check_ended(manager, loop, task)


def test_the_thread_does_not_wait(make_manager: MakeManager) -> None:
    """A thread ends at once; the cleanup of what it leaves goes on on the keeper."""
    cleaning, go_on, cleaned = threading.Event(), threading.Event(), threading.Event()

    async def clean_up_slowly() -> None:
        try:
            cleaning.set()
            await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.to_thread(reached, go_on)
            cleaned.set()

    def leave() -> AsyncioLoopManager:
        manager = make_manager()
        manager.submit_task(clean_up_slowly())
        reached(cleaning)
        return manager

    manager = in_thread(leave)  # joins the thread
    assert not cleaned.is_set()
    assert manager.state == "stopping"
    go_on.set()
    reached(cleaned)


def test_the_coroutines_thread_is_alive(make_manager: MakeManager, runner: str) -> None:
    """The cleanup runs on a thread that `threading` knows, and that may start others.

    That is the keeper, or the thread itself, which closes a loop that lives on it before it ends.
    """
    thread: list[threading.Thread] = []
    began, done = threading.Event(), threading.Event()

    async def use_threading() -> None:
        try:
            began.set()
            await asyncio.get_running_loop().create_future()
        finally:
            thread.append(threading.current_thread())
            await asyncio.to_thread(int)
            done.set()

    def leave() -> None:
        manager = make_manager()
        manager.submit_task(use_threading())
        reached(began)

    with Worker(resident=runner == "resident") as owner:
        owner.call(leave)
    reached(done)
    assert (thread[0] is owner.thread) == (runner == "resident")
    assert not isinstance(thread[0], threading._DummyThread)


def test_leaves_no_dummy_threads(make_manager: MakeManager) -> None:
    """The end of a thread leaves no dummy behind in `threading`, where they stay for ever."""
    for _ in range(5):
        in_thread(make_manager)
    gc.collect()
    dummies = [one for one in threading.enumerate() if isinstance(one, threading._DummyThread)]
    assert dummies == []


def test_work_that_could_not_be_started(make_manager: MakeManager) -> None:
    """A coroutine that was still waiting for its first step is closed, without a warning."""
    stands, go_on = threading.Event(), threading.Event()

    async def stand_still() -> None:
        stands.set()
        reached(go_on)  # blocks the loop, so that nothing new can begin

    def leave() -> tuple[Any, Any]:
        manager = make_manager()
        manager.submit_task(stand_still())
        reached(stands)
        coro = give(1)
        return coro, manager.submit_task(coro)

    coro, future = in_thread(leave)
    go_on.set()
    with pytest.raises(RuntimeError, match="stopped"):
        future.result(LIMIT)
    assert inspect.getcoroutinestate(coro) == inspect.CORO_CLOSED


def test_work_that_a_resident_thread_has_not_come_to(make_manager: MakeManager) -> None:
    """A pool's thread that ends right after it has submitted something ends that in order."""

    def leave() -> tuple[Endless, Any]:
        task = Endless()
        return task, make_manager().submit_task(task.wait())

    with Worker(resident=True) as owner:
        task, future = owner.call(leave)
    with pytest.raises(RuntimeError, match="stopped"):
        future.result(LIMIT)
    assert task.cleaned.is_set() or not task.began.is_set()


def test_a_manager_that_was_never_started(loop_factory: LoopFactory | None) -> None:
    """A thread that ends without having started its manager leaves nothing to stop."""
    manager = in_thread(lambda: AsyncioLoopManager(loop_factory=loop_factory))
    assert manager.state == "new"


def test_a_manager_that_another_thread_uses(make_manager: MakeManager, runner: str) -> None:
    """A manager ends with its owner, whoever else uses it; the others are told so."""
    owner, task = Worker(resident=runner == "resident"), Endless()
    manager = owner.call(make_manager)
    with Worker() as other:
        waiting = other.begin(manager.run, task.wait())
        reached(task.began)
        owner.end()
        with pytest.raises(RuntimeError, match="stopped"):
            waiting.result(LIMIT)
        with pytest.raises(RuntimeError, match="stopped"):
            other.call(manager.run, give(1))


def test_the_end_of_another_thread(make_manager: MakeManager) -> None:
    """A thread that only used a manager takes nothing with it when it ends."""
    with Worker() as owner:
        manager = owner.call(make_manager)
        assert in_thread(manager.run, give(1)) == 1
        assert in_thread(lambda: get_or_create_loop_manager(manager.id)) is not None
        assert owner.call(manager.run, give("lives on")) == "lives on"


def test_started_after_the_owners_end(loop_factory: LoopFactory | None) -> None:
    """A manager whose thread has ended cannot be started: it would have to stop at once."""
    manager = in_thread(lambda: AsyncioLoopManager(loop_factory=loop_factory))
    with pytest.raises(RuntimeError, match=r"ended|alive"):
        manager.start()
    with pytest.raises(RuntimeError):
        manager.run(give(1))


def test_a_task_that_refuses(make_manager: MakeManager) -> None:
    """Not even a coroutine that refuses to end keeps its thread from ending.

    (A thread that the loop lives on waits for it, in vain, for some seconds.)
    """
    stubborn = Stubborn()

    def leave() -> AsyncioLoopManager:
        manager = make_manager()
        manager.submit_task(stubborn.wait())
        reached(stubborn.began)
        return manager

    manager = in_thread(leave)
    reached(stubborn.refused)
    stubborn.release()
    wait_until(lambda: manager.state == "stopped", "the manager is stopped")


def test_thread_locals_of_others(make_manager: MakeManager, runner: str) -> None:
    """A thread-local object that uses the manager in its destructor gets an answer, not a hang."""
    local = threading.local()
    answers: list[object] = []
    ended = threading.Event()

    class AtTheEnd:
        def __init__(self, manager: AsyncioLoopManager) -> None:
            self.manager = manager

        def __del__(self) -> None:
            try:
                self.manager.submit_task(give(1))
                answers.append("submitted")
            except RuntimeError as error:
                answers.append(str(error))
            ended.set()

    def leave(first: bool) -> None:
        if first:
            local.end = None
            manager = make_manager()
        else:
            manager = make_manager()
        local.end = AtTheEnd(manager)
        del manager

    for first in (True, False):
        with Worker(resident=runner == "resident") as owner:
            owner.call(leave, first)
        reached(ended)
        ended.clear()
    assert len(answers) == 2
    assert all(answer == "submitted" or "stopped" in str(answer) for answer in answers)


def child_many_threads(count: int) -> None:
    """Threads come and go as in a server with a thread per request; print what stays of each."""

    def use() -> None:
        manager = get_or_create_loop_manager("mine", force_create=True)
        manager.start()
        assert manager.run(give(1)) == 1

    def descriptors() -> int:
        return sum(1 for _ in Path("/proc/self/fd").iterdir())

    in_thread(use)
    wait_until(lambda: threading.active_count() == 1, "everything of the first one is gone")
    before = descriptors()
    for _ in range(count):
        in_thread(use)
    wait_until(lambda: threading.active_count() == 1, "everything is gone")
    gc.collect()
    print(descriptors() - before, len(AsyncioLoopManager.all_instances()))


@pytest.mark.skipif("sys.platform != 'linux'", reason="counts in /proc")
def test_a_thread_for_each_request() -> None:
    """Many short threads with a manager each leave neither threads nor descriptors nor managers."""
    assert in_process(child_many_threads, 100) == "0 0\n"


@on_worker
def test_while_its_owner_is_forgotten(make_manager: MakeManager) -> None:
    """A thread whose object nobody holds ends its manager like any other."""
    task = Endless()
    manager: list[AsyncioLoopManager] = []

    def leave() -> None:
        manager.append(use_and_leave(make_manager, task)[0])

    threading.Thread(target=leave).start()
    reached(task.cleaned)
    wait_until(lambda: manager[0].state == "stopped", "the manager is stopped")
