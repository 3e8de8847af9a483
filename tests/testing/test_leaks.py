"""The leak check by itself: what it takes for a leak, and what it does not."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.core.support import LIMIT, Endless, Stubborn, Worker, give, outcome, reached, wait_until
from wsgi_async import (
    AsyncioLoopManager,
    AsyncLoopMiddleware,
    LoopThreadPoolExecutor,
    loop_resource,
)
from wsgi_async.testing import LeakCheck

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from typing import Any

    from tests.core.conftest import LoopFactory, MakeManager

SHORT = 0.2
"""Seconds of grace where something is left: the check waits as long in vain."""
LONG = 20.0
"""Seconds of grace where nothing is: the check waits for what ends, and no longer."""


def test_a_task_on_a_shared_manager_is_named(make_manager: MakeManager) -> None:
    """A task that a test leaves on a manager older than itself is its own; an older task is not."""
    manager = make_manager("shared")
    older, newer = Endless(), Endless()
    manager.submit_task(older.wait())
    reached(older.began)
    check = LeakCheck(grace=SHORT)
    manager.submit_task(newer.wait())
    (leak,) = check.leaks()
    assert "the coroutine Endless.wait" in leak
    assert "id='shared'" in leak


def test_work_that_is_about_to_end_is_waited_for(make_manager: MakeManager) -> None:
    """A task that ends within the grace is no leak, and costs no more than it takes."""
    manager = make_manager()
    check = LeakCheck(grace=LONG)
    manager.submit_task(asyncio.sleep(0.05))
    manager.submit_task(give(1), return_sync_future=True)
    assert check.leaks() == []


def test_work_of_an_idle_thread_is_waited_for(
    runner: str, make_manager: MakeManager, worker: Worker
) -> None:
    """What a worker thread has submitted, and nobody waits for, ends by itself and is no leak."""
    manager = worker.call(make_manager)
    check = LeakCheck(grace=LONG)
    future = worker.call(manager.submit_task, give(1))
    assert check.leaks() == []
    assert future.done()


def test_work_on_a_worker_threads_manager_is_named(
    runner: str, make_manager: MakeManager, worker: Worker
) -> None:
    """Also where the loop lives on that thread, and while the thread computes."""
    manager = worker.call(make_manager, "workers")
    check = LeakCheck(grace=SHORT)
    endless, gate = Endless(), threading.Event()
    worker.call(manager.submit_task, endless.wait())
    reached(endless.began)
    (leak,) = check.leaks()
    assert "the coroutine Endless.wait" in leak
    computing = worker.begin(gate.wait, LIMIT)
    assert check.leaks() == [leak]
    gate.set()
    outcome(computing)


def test_a_task_that_ends_leaves_the_next_one(make_manager: MakeManager) -> None:
    """A task that is begun by one that ends is found too."""
    manager = make_manager()
    check = LeakCheck(grace=5 * SHORT)  # enough for the first to end on a busy machine
    endless = Endless()

    async def begin() -> None:
        await asyncio.sleep(0.01)
        manager.submit_task(endless.wait())

    manager.submit_task(begin())
    (leak,) = check.leaks()
    assert "Endless.wait" in leak


def test_an_open_stream_is_named(make_manager: MakeManager) -> None:
    """A generator that a test has not iterated to its end, nor closed, is its own leak."""
    manager = make_manager()

    async def numbers() -> AsyncIterator[int]:
        yield 1
        yield 2

    check = LeakCheck(grace=SHORT)
    iterator = manager.iterate(numbers())
    next(iterator)
    (leak,) = check.leaks()
    assert "numbers, iterated over" in leak
    iterator.close()


def test_an_open_resource_is_no_leak(make_manager: MakeManager) -> None:
    """What a loop keeps open until its manager stops is not left behind, nor what it runs on."""
    manager, endless = make_manager(), Endless()

    @loop_resource
    async def client() -> AsyncIterator[asyncio.Task[Any]]:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(endless.wait())
            yield task
            task.cancel()

    check = LeakCheck(grace=LONG)
    client.get(manager)
    reached(endless.began)
    assert check.leaks() == []


def test_a_blocked_loop_does_not_hang_the_check(make_manager: MakeManager) -> None:
    """A coroutine that blocks its loop is named all the same."""
    manager = make_manager()
    check = LeakCheck(grace=SHORT)
    began, gate = threading.Event(), threading.Event()

    async def block() -> None:
        began.set()
        gate.wait()

    manager.submit_task(block())
    reached(began)
    try:
        (leak,) = check.leaks()
    finally:
        gate.set()
    assert "block" in leak


def test_a_loop_that_blocks_later_is_no_task_of_the_check(
    make_manager: MakeManager,
) -> None:
    """A loop that is blocked in the midst of the check: only what blocks it is named."""
    manager = make_manager()
    check = LeakCheck(grace=SHORT)
    begun, gate = threading.Event(), threading.Event()
    pause = asyncio.run_coroutine_threadsafe(asyncio.sleep(SHORT / 2), manager.get_event_loop())

    async def block() -> None:
        await asyncio.wrap_future(pause)
        begun.set()
        gate.wait(LIMIT)

    blocking = manager.submit_task(block())
    leaks = check.leaks()
    assert begun.is_set()
    gate.set()
    outcome(blocking)
    (leak,) = leaks
    assert "block" in leak


def test_what_was_handed_to_a_loop_is_found(make_manager: MakeManager) -> None:
    """A coroutine that came past the manager is named, though its loop has not turned since."""
    manager = make_manager()
    check = LeakCheck(grace=SHORT)
    never, endless = threading.Event(), Endless()
    manager.get_event_loop().call_soon_threadsafe(never.wait, SHORT / 2)  # so it has other work
    future = asyncio.run_coroutine_threadsafe(endless.wait(), manager.get_event_loop())
    (leak,) = check.leaks()
    assert "Endless.wait" in leak
    future.cancel()


def test_the_check_leaves_nothing_on_the_loop(make_manager: MakeManager) -> None:
    """Two checks in a row find the same: the first one's question is gone."""
    manager = make_manager()
    check = LeakCheck(grace=SHORT)
    manager.submit_task(Endless().wait())
    first, second = check.leaks(), check.leaks()
    assert first == second
    assert len(first) == 1


def test_a_stop_that_goes_on_is_waited_for(make_manager: MakeManager) -> None:
    """A manager that another thread's end is stopping is none that was left."""
    check = LeakCheck(grace=LONG)
    with Worker() as worker:
        manager = worker.call(make_manager)
        endless = Endless()
        worker.call(manager.submit_task, endless.wait())
        reached(endless.began)
    assert check.leaks() == []
    assert endless.cleaned.is_set()


def test_a_stop_of_another_thread_is_waited_for(
    make_manager: MakeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A manager that somebody is stopping gets the grace, as whoever calls stop() would give it."""
    stop, stubborn = AsyncioLoopManager.stop, Stubborn()

    def release(manager: AsyncioLoopManager, timeout: float) -> None:
        stubborn.release()
        stop(manager, timeout)

    with Worker() as worker:
        check = LeakCheck(grace=LONG)
        manager = make_manager()
        manager.submit_task(stubborn.wait())
        reached(stubborn.began)
        stopping = worker.begin(stop, manager, LIMIT)
        reached(stubborn.refused)
        monkeypatch.setattr(AsyncioLoopManager, "stop", release)
        left = check.leaks()
        monkeypatch.undo()
        outcome(stopping)
    assert left == []


def test_a_manager_that_is_stopped_during_the_check(
    make_manager: MakeManager, worker: Worker
) -> None:
    """What is cut off by the stop is not left behind."""
    manager, endless = make_manager(), Endless()
    check = LeakCheck(grace=LONG)
    manager.submit_task(endless.wait())
    reached(endless.began)
    loop = manager.get_event_loop()

    def stop() -> None:
        wait_until(lambda: len(asyncio.all_tasks(loop)) == 2, "the check asks nothing")
        manager.stop()

    stopping = worker.begin(stop)
    assert check.leaks() == []
    outcome(stopping)


def test_a_manager_that_the_test_has_stopped(make_manager: MakeManager) -> None:
    """The look at a manager before its stop may come after it; nothing is left then."""
    manager, endless = make_manager(), Endless()
    check = LeakCheck(grace=LONG)
    manager.submit_task(endless.wait())
    reached(endless.began)
    manager.stop()
    check.look_at(manager)
    assert check.leaks() == []


class EndsWhenJoined(threading.Thread):
    """A thread that ends when somebody waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self._asked = threading.Event()

    def run(self) -> None:
        self._asked.wait()

    def join(self, timeout: float | None = None) -> None:
        self._asked.set()
        super().join(timeout)


def test_a_thread_that_is_ending_is_waited_for() -> None:
    """A thread that ends within the grace is no leak."""
    check = LeakCheck(grace=LONG)
    EndsWhenJoined().start()
    assert check.leaks() == []


def test_an_endless_thread_does_not_take_the_others_time() -> None:
    """One thread that stays is named; another that is ending is not."""
    check = LeakCheck(grace=SHORT)
    with Worker("stays") as stays:
        EndsWhenJoined().start()
        (leak,) = check.leaks()
        assert "'stays' in _PlainThread._serve" in leak
        assert stays.thread.is_alive()


@pytest.mark.parametrize("kind", [ThreadPoolExecutor, LoopThreadPoolExecutor])
def test_threads_of_an_older_pool_are_its_own(
    make_manager: MakeManager, kind: Callable[[int], Executor]
) -> None:
    """A pool that was there before, a manager's too, may start its threads in a test."""
    manager = make_manager()
    with kind(2) as pool:
        check = LeakCheck(grace=SHORT)
        assert pool.submit(int, "1").result() == 1
        assert manager.run(asyncio.to_thread(int, "1")) == 1
        assert check.leaks() == []


@pytest.mark.parametrize("kind", [ThreadPoolExecutor, LoopThreadPoolExecutor])
def test_a_pool_that_is_left_is_named(kind: Callable[..., Executor]) -> None:
    """The idle thread of a pool of the test's own is a leak until the pool is shut down."""
    check = LeakCheck(grace=SHORT)
    pool = kind(1, thread_name_prefix="mine")
    pool.submit(int, "1").result()
    try:
        (leak,) = check.leaks()
    finally:
        pool.shutdown()
    assert "the thread 'mine_0'" in leak
    assert "shut its pool down" in leak
    assert check.leaks() == []


def test_a_hung_call_in_a_stopped_managers_pool_is_named(
    make_manager: MakeManager,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """When a manager is stopped, its pool's threads have to end as well."""
    check = LeakCheck(grace=SHORT)
    began, gate = threading.Event(), threading.Event()

    def hang() -> None:
        began.set()
        gate.wait()

    manager = make_manager()
    manager.submit_task(asyncio.to_thread(hang))
    reached(began)
    manager.stop(0.1)
    try:
        leaks = check.leaks()
    finally:
        gate.set()
    assert [leak for leak in leaks if "the thread 'asyncio_0'" in leak]
    assert check.leaks() == []


def test_a_loop_of_any_make_is_found(loop_factory: LoopFactory | None) -> None:
    """asyncio's loops and uvloop's are named while they are open."""
    check = LeakCheck(grace=SHORT)
    loop = (loop_factory or asyncio.new_event_loop)()
    (leak,) = check.leaks()
    assert "never closed" in leak
    loop.close()
    assert check.leaks() == []


def test_a_loop_that_is_being_made_is_passed_over() -> None:
    """Another thread may be making a loop during the look, which cannot be asked yet."""

    class HalfMade(asyncio.AbstractEventLoop):
        def is_closed(self) -> bool:
            raise AttributeError("_closed")

    check = LeakCheck(grace=SHORT)
    loops = [HalfMade()]  # type: ignore[abstract]
    assert check.leaks() == []
    assert len(loops) == 1


def test_a_loop_that_nobody_holds_is_found() -> None:
    """A loop that is lost unclosed is named, before the collector closes it."""
    check = LeakCheck(grace=SHORT)
    gc.disable()
    try:
        asyncio.new_event_loop()
        (leak,) = check.leaks()
    finally:
        gc.enable()
        with pytest.warns(ResourceWarning):
            gc.collect()
    assert "never closed" in leak


def test_a_loop_in_use_is_its_threads(worker: Worker) -> None:
    """An asyncio.run() in a thread that was there before is none of the test's."""
    check = LeakCheck(grace=SHORT)
    began: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def wait() -> None:
        done = asyncio.Event()
        began.set_result((asyncio.get_running_loop(), done))
        await done.wait()

    running = worker.begin(asyncio.run, wait())
    loop, done = outcome(began)
    try:
        assert check.leaks() == []
    finally:
        loop.call_soon_threadsafe(done.set)
        outcome(running)


def test_managers_of_the_middleware_live_as_long_as_their_thread(
    worker: Worker,
) -> None:
    """A server thread that gets its loop in a test keeps it; work on it is the test's."""
    endless = Endless()

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        if environ["PATH_INFO"] == "/leave":
            environ["async.loop"].submit_task(endless.wait())
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b""]

    wrapped = AsyncLoopMiddleware(app, id="leaks")
    check = LeakCheck(grace=SHORT)
    worker.call(wrapped, {"PATH_INFO": "/"}, lambda *_: None)
    assert check.leaks() == []
    worker.call(wrapped, {"PATH_INFO": "/leave"}, lambda *_: None)
    (leak,) = check.leaks()
    assert "Endless.wait" in leak


def test_objects_that_lie_about_their_class_are_left_alone() -> None:
    """The look for loops runs no code of lazy objects and proxies."""
    asked: list[str] = []

    class Lazy:
        def __getattribute__(self, name: str) -> object:
            asked.append(name)
            raise RuntimeError("outside of a request")

    lazy = [Lazy()]
    assert LeakCheck(grace=SHORT).leaks() == []
    assert asked == []
    assert len(lazy) == 1


def test_the_check_keeps_nothing_alive() -> None:
    """A test that looks whether something is collected is not disturbed."""
    manager = AsyncioLoopManager("short-lived")
    loop = asyncio.new_event_loop()
    check = LeakCheck()
    loop.close()
    gone: list[weakref.ref[Any]] = [weakref.ref(manager), weakref.ref(loop)]
    del manager, loop
    gc.collect()
    assert [one() for one in gone] == [None, None]
    assert check.leaks() == []
