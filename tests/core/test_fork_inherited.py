"""Forks: what a child gets that uses what it has inherited: an error at once, and no hang."""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.core.forking import fork, in_child, refused, started
from tests.core.support import (
    Endless,
    Worker,
    give,
    in_process,
    reached,
)
from wsgi_async import (
    AsyncioLoopManager,
    ManagerStateError,
    SyncFuture,
    async_to_sync_future,
    current_manager,
    run_in_calling_thread,
)
from wsgi_async.core.managers.manager import lifecycle_of

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")

LOOPS = ["asyncio", "uvloop"]


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest) -> str:
    if request.param == "uvloop":
        pytest.importorskip("uvloop", reason="uvloop is not installed")
    name: str = request.param
    return name


def child_inherited_manager(loop: str, busy: bool) -> None:
    """The child uses what the parent had started, in every way."""
    manager, task = started("master", loop), Endless()
    manager.run(give(1))
    if busy:
        manager.submit_task(task.wait())
        reached(task.began)

    def check() -> None:
        calls: list[Callable[[Any], object]] = [
            manager.run,
            manager.submit_task,
        ]
        for call in calls:
            coro = give(1)
            refused(call, coro)
            assert inspect.getcoroutinestate(coro) == inspect.CORO_CLOSED
        refused(manager.get_event_loop)
        refused(manager.start)
        manager.stop()  # there is nothing to stop here
        assert "master" in repr(manager)
        assert not manager.running

    in_child(check)
    assert manager.run(give("lives on")) == "lives on"


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_an_inherited_manager(loop: str, busy: bool) -> None:
    """Using the parent's manager is an error that tells why; nothing hangs or stays open."""
    in_process(child_inherited_manager, loop, busy)


def child_unstarted_manager() -> None:
    """The child gets a manager that the parent had made, and not started."""
    manager = AsyncioLoopManager("early")

    def check() -> None:
        refused(manager.run, give(1))
        refused(manager.start)

    in_child(check)
    manager.start()
    assert manager.run(give(1)) == 1


def test_an_inherited_manager_that_was_not_started() -> None:
    """A manager that is not started yet is the parent's as well."""
    in_process(child_unstarted_manager)


def child_inherited_futures(loop: str) -> None:
    """The child asks futures of the parent's tasks."""
    manager, tasks = started("master", loop), [Endless() for _ in range(2)]
    future = manager.submit_task(tasks[0].wait())

    async def bare() -> asyncio.Future[Any]:
        return asyncio.get_running_loop().create_future()

    wrapped = async_to_sync_future(manager.run(bare()))
    wrapped_future = async_to_sync_future(manager.submit_task(tasks[1].wait()))
    done = manager.submit_task(give("page"))
    assert done.result() == "page"
    for task in tasks:
        reached(task.began)

    def check() -> None:
        for each in (future, wrapped, wrapped_future):
            for ask in (each.result, each.exception, each.wait):
                refused(ask)
                refused(ask, 1)
            assert not each.done()
        assert done.result() == "page"

    in_child(check)


def test_inherited_futures(loop: str) -> None:
    """Waiting in the child for a task of the parent's is an error, as it can never end there."""
    in_process(child_inherited_futures, loop)


def child_futures_by_hand() -> None:
    """A future that was made by hand belongs to no process."""
    future: SyncFuture[str] = SyncFuture()

    def check() -> None:
        assert not future.wait(0)
        threading.Timer(0, future.set_result, ("page",)).start()
        assert future.result() == "page"

    in_child(check)
    assert not future.done()


def test_a_future_by_hand() -> None:
    """A `SyncFuture` filled by hand works in the child as before."""
    in_process(child_futures_by_hand)


def child_guest() -> None:
    """The child closes the loop of a guest, whose mutex another thread of the parent holds."""
    manager, loop = AsyncioLoopManager(), asyncio.new_event_loop()
    loop.run_until_complete(manager.start_on_running_loop())
    runner = lifecycle_of(manager).runner
    assert runner is not None
    held, forked = threading.Event(), threading.Event()

    def hold() -> None:
        with runner.live.mutex:
            held.set()
            forked.wait(20)

    thread = threading.Thread(target=hold)
    thread.start()
    reached(held)
    in_child(loop.close)
    forked.set()
    thread.join()
    loop.close()
    assert manager.state == "stopped"


def test_an_inherited_guest() -> None:
    """A child can close the loop that a manager of the parent's was a guest on."""
    in_process(child_guest)


def child_forked_in_a_wait() -> None:
    """A function forks on a thread that runs its loop as it waits; the child returns from it."""

    def view() -> int:
        manager = current_manager()

        async def call() -> int:
            return await run_in_calling_thread(fork)

        try:
            child = manager.run(call())
        except ManagerStateError as error:
            os._exit(0 if "parent process" in str(error) else 1)
        return os.waitpid(child, 0)[1]

    with Worker(resident=True) as worker:
        assert worker.call(view) == 0


def test_forked_in_the_middle_of_a_wait() -> None:
    """A child that comes back to its parent's wait gets an error, and the parent its result."""
    in_process(child_forked_in_a_wait)
