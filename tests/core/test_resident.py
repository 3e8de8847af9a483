"""Loops that live on a worker's own thread: what is theirs alone.

That all else is as with a keeper the other files tell, whose tests run on both runners.
"""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.core.support import (
    LIMIT,
    Endless,
    Worker,
    give,
    on_worker,
    our_log,
    outcome,
    reached,
    wait_until,
    where,
)
from wsgi_async import AsyncioLoopManager, SyncFuture, run_in_calling_thread
from wsgi_async.core.runners import resident

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.core.conftest import LoopFactory, MakeManager


@pytest.fixture
def owner() -> Iterator[Worker]:
    """A thread that a loop can live on."""
    with Worker("owner", resident=True) as one:
        yield one


# -- which thread --------------------------------------------------------------------------------


def test_the_first_manager_lives_on_the_thread(owner: Worker, make_manager: MakeManager) -> None:
    """One loop can live on a thread; a second manager has a keeper, and both work."""

    def view() -> None:
        first, second = make_manager("first"), make_manager("second")
        here = threading.current_thread()
        assert first.run(where()) is here
        assert second.run(where()) is not here
        assert first.submit_task(where()).result() is here
        first.stop()
        third = make_manager("third")
        assert third.run(where()) is here
        assert second.run(give("lives on")) == "lives on"

    owner.call(view)


def test_a_call_leaves_the_loop_open(owner: Worker, make_manager: MakeManager) -> None:
    """Between two calls the thread runs no loop, and what a call left goes on in the next."""

    async def leave() -> asyncio.Task[str]:
        return asyncio.create_task(give("done"))

    async def take(task: asyncio.Task[str]) -> str:
        return await task

    def view() -> str:
        manager = make_manager()
        task = manager.run(leave())
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
        return manager.run(take(task))

    assert owner.call(view) == "done"


def test_an_idle_thread_runs_its_loop(owner: Worker, make_manager: MakeManager) -> None:
    """Between two requests background work goes on, and other threads can use the manager."""
    manager, task = owner.call(make_manager), Endless()
    owner.call(manager.submit_task, task.wait())
    assert task.began.wait(LIMIT)  # this thread is another one
    assert manager.run(where()) is owner.thread
    assert manager.submit_task(give("page")).result() == "page"
    assert asyncio.run_coroutine_threadsafe(give(1), manager.get_event_loop()).result(LIMIT) == 1


def test_calls_inside_of_each_other(owner: Worker, make_manager: MakeManager) -> None:
    """Sync code that a coroutine has its thread run may call `run()` again, as deep as need be."""

    def view() -> list[int]:
        manager = make_manager()
        here = threading.current_thread()

        async def count(left: int) -> list[int]:
            await asyncio.sleep(0)
            return [left] if not left else [left, *await run_in_calling_thread(go_on, left - 1)]

        def go_on(left: int) -> list[int]:
            assert threading.current_thread() is here
            return manager.run(count(left))

        return go_on(5)

    assert owner.call(view) == [5, 4, 3, 2, 1, 0]


def test_the_other_tasks_wait_for_sync_code(owner: Worker, make_manager: MakeManager) -> None:
    """While the thread runs a function for a coroutine, the loop's other tasks stand still."""
    ticks: list[str] = []

    async def tick() -> None:
        while True:
            ticks.append("tick")
            await asyncio.sleep(0)

    def compute() -> int:
        before = len(ticks)
        threading.Event().wait(0.02)
        return len(ticks) - before

    async def ask() -> int:
        await asyncio.sleep(0)
        return await run_in_calling_thread(compute)

    def view() -> None:
        manager = make_manager()
        ticking = manager.submit_task(tick())
        assert manager.run(ask()) == 0
        assert ticks
        ticking.cancel()

    owner.call(view)


# -- other threads -------------------------------------------------------------------------------


def started(id: str = "mine", **options: Any) -> AsyncioLoopManager:
    """A manager on the loop that asyncio makes; any other would wait as long."""
    manager = AsyncioLoopManager(id, **options)
    manager.start()
    return manager


def test_a_thread_that_does_not_come_to_its_loop(
    owner: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread's call is given up with an error that names the way out.

    The owner may wait for that very thread.
    """
    monkeypatch.setattr(resident, "PATIENCE", 0.5)
    task = Endless()

    def view() -> BaseException | None:
        manager = started("mine")
        with Worker("helper") as helper:
            return helper.begin(manager.run, task.wait()).exception(LIMIT)  # blocks this thread

    error = owner.call(view)
    assert isinstance(error, RuntimeError)
    assert "standing still" in str(error)
    assert "'mine'" in str(error)
    assert 'per="process"' in str(error)
    assert error.__context__ is None
    assert not task.began.is_set()


def test_a_call_that_has_begun_when_the_loop_is_left(
    owner: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its coroutine is canceled when the owner comes to the loop again."""
    monkeypatch.setattr(resident, "PATIENCE", 0.5)
    task = Endless()

    def view() -> BaseException | None:
        manager = started("mine", grace=1.0)  # longer than its patience
        with Worker("helper") as helper:
            waiting = helper.begin(manager.run, task.wait())
            reached(task.began)
            return waiting.exception(LIMIT)  # blocks this thread

    error = owner.call(view)
    assert "standing still" in str(error)
    assert error is not None
    assert error.__context__ is None
    assert task.cleaned.wait(LIMIT)


def test_a_future_of_a_loop_that_stands_still(
    owner: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the same for a thread that waits for a submitted task, which continues later."""
    monkeypatch.setattr(resident, "PATIENCE", 0.5)

    def view() -> SyncFuture[str]:
        future = started("mine").submit_task(give("page"))
        with Worker("helper") as helper:
            error = helper.begin(future.result).exception(LIMIT)  # blocks this thread
        assert "standing still" in str(error)
        return future

    assert owner.call(view).result() == "page"


def test_a_thread_that_comes_now_and_then(owner: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop is not given up whose thread computes a lot, and comes to it in between."""
    monkeypatch.setattr(resident, "PATIENCE", 1.0)

    def view() -> None:
        manager, go = started(), asyncio.Event()

        async def wait() -> str:
            await go.wait()
            return "page"

        async def release() -> None:
            go.set()

        with Worker("helper") as helper:
            waiting = helper.begin(manager.run, wait())
            for _ in range(12):
                threading.Event().wait(0.1)
                manager.run(give(1))
            assert not waiting.done()
            manager.run(release())
            assert outcome(waiting) == "page"

    owner.call(view)


def test_threads_with_loops_call_each_other(make_manager: MakeManager) -> None:
    """Each goes on with its own loop while it waits for the other's: no deadlock."""
    with Worker("one", resident=True) as one, Worker("two", resident=True) as two:
        first, second = one.call(make_manager), two.call(make_manager)
        meeting = threading.Barrier(2)

        def view(mine: AsyncioLoopManager, others: AsyncioLoopManager) -> list[threading.Thread]:
            meeting.wait(LIMIT)
            return [others.run(where()) for _ in range(50)] + [mine.run(where())]

        a, b = one.begin(view, first, second), two.begin(view, second, first)
        assert outcome(a) == [two.thread] * 50 + [one.thread]
        assert outcome(b) == [one.thread] * 50 + [two.thread]


# -- stop ----------------------------------------------------------------------------------------


@on_worker
def test_a_stop_serves_what_a_cleanup_asks_for(make_manager: MakeManager) -> None:
    """A coroutine whose manager is stopped from elsewhere can still have its thread run a function.

    With either runner: a loop that lives on the thread is closed after that.
    """
    manager, began, ran = make_manager(), threading.Event(), list[threading.Thread]()

    async def clean_up_there() -> None:
        try:
            began.set()
            await asyncio.get_running_loop().create_future()
        finally:
            await run_in_calling_thread(lambda: ran.append(threading.current_thread()))

    def stop() -> None:
        reached(began)
        manager.stop()

    with Worker() as other:
        stopping = other.begin(stop)
        with pytest.raises(RuntimeError, match="was stopped"):
            manager.run(clean_up_there())
        outcome(stopping)
    assert ran == [threading.current_thread()]
    assert manager.state == "stopped"


def test_a_stop_while_the_thread_computes(
    owner: Worker, make_manager: MakeManager, caplog: pytest.LogCaptureFixture
) -> None:
    """It comes back in its time, with a word; the loop is closed when the thread comes to it."""
    manager, task = owner.call(make_manager), Endless()
    owner.call(manager.submit_task, task.wait())
    reached(task.began)
    computes, go_on = threading.Event(), threading.Event()

    def compute() -> None:
        computes.set()
        go_on.wait(LIMIT)  # blocks the thread

    computing = owner.begin(compute)
    reached(computes)
    try:
        manager.stop(0.1)
        assert "did not stop in time" in "".join(our_log(caplog))
    finally:
        go_on.set()
    outcome(computing)
    assert task.cleaned.wait(LIMIT)
    wait_until(lambda: manager.state == "stopped", "the loop is closed")


def test_the_thread_waits_for_others_after_a_stop(
    owner: Worker, loop_factory: LoopFactory | None
) -> None:
    """What the thread has waited with before belongs to its loop, and goes with it."""

    def view() -> None:
        with AsyncioLoopManager("keeps", loop_factory=loop_factory) as mine:
            assert mine.run(where()) is threading.current_thread()
            with AsyncioLoopManager("other", loop_factory=loop_factory) as other:
                assert other.run(give(1)) == 1
                assert not SyncFuture[None]().wait(0.001)
                mine.stop()
                assert other.run(give(2)) == 2
                assert not SyncFuture[None]().wait(0.001)

    owner.call(view)


def test_waits_leave_nothing(owner: Worker, make_manager: MakeManager) -> None:
    """However often such a thread waits, and whatever for, nothing piles up."""

    def wakeups() -> int:
        gc.collect()
        return sum(type(one) is resident.LoopWakeup for one in gc.get_objects())

    def view() -> None:
        mine, other = make_manager(), make_manager("other")
        for turn in range(51):
            if turn == 1:
                before = wakeups()
            mine.run(give(1))
            mine.submit_task(give(1)).result()
            other.run(give(1))
            SyncFuture[None]().wait(0)
        assert wakeups() <= before

    owner.call(view)


# -- what comes from outside ---------------------------------------------------------------------


def test_a_task_that_never_rests_keeps_nothing_waiting(
    owner: Worker, make_manager: MakeManager
) -> None:
    """What comes from outside is seen within a few turns, though there is always other work."""

    async def turns_until_it_is_read() -> int:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            came: list[int] = []
            loop.add_reader(ours, came.append, 1)
            theirs.send(b"x")
            turns = 0
            while not came:
                await asyncio.sleep(0)
                turns += 1
            loop.remove_reader(ours)
        return turns

    def view() -> None:
        assert make_manager().run(turns_until_it_is_read(), timeout=LIMIT) <= 6

    owner.call(view)
