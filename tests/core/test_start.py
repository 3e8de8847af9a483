"""`start()`: usable on return, or an error and nothing left behind."""

from __future__ import annotations

import asyncio
import selectors
import threading
from typing import TYPE_CHECKING, NoReturn

import pytest

from tests.core.support import (
    Endless,
    Worker,
    ended,
    give,
    on_worker,
    reached,
    run_process,
    say,
    wait_until,
    where,
)
from wsgi_async import (
    AsyncioLoopManager,
    ManagerStateError,
    async_to_sync_future,
    current_manager,
)
from wsgi_async.core.base import threads
from wsgi_async.core.base.settings import primitives
from wsgi_async.core.managers.current import start_once
from wsgi_async.core.managers.manager import lifecycle_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.core.conftest import LoopFactory, MakeManager


@on_worker
def test_usable_on_return(loop_factory: LoopFactory | None) -> None:
    """The first thing after `start()` may be any call, from any thread: there is no window."""
    calls: list[Callable[[AsyncioLoopManager], object]] = [
        lambda manager: manager.run(give(1)),
        lambda manager: manager.submit_task(give(1)).result(),
        lambda manager: async_to_sync_future(
            asyncio.run_coroutine_threadsafe(give(1), manager.get_event_loop())
        ).result(),
        lambda manager: manager.stop() or 1,  # type: ignore[func-returns-value]
    ]
    manager = AsyncioLoopManager(loop_factory=loop_factory)
    with Worker() as stranger:
        for call in calls * 3:
            manager.start()
            assert call(manager) == 1
            manager.stop()
            manager.start()
            assert stranger.call(call, manager) == 1
            manager.stop()


@on_worker
def test_already_started(make_manager: MakeManager) -> None:
    """A second `start()` is an error that leaves the running manager as it is."""
    manager = make_manager(task_type="mail")
    loop = manager.get_event_loop()
    task = Endless()
    manager.submit_task(task.wait(), task_type="mail")
    reached(task.began)
    with pytest.raises(RuntimeError, match="already started"):
        manager.start("web")
    assert manager.get_event_loop() is loop
    assert manager.run(give(1), task_type="mail") == 1
    assert not task.cleaned.is_set()


def test_one_start_that_fails_is_nobody_elses_error() -> None:
    """Where requests share a manager, only the one whose start failed gets the error."""
    entered, go = threading.Event(), threading.Event()
    failures = [LookupError("no network")]

    def fail_once() -> None:
        if failures:
            entered.set()
            go.wait(20)
            raise failures.pop()

    manager = AsyncioLoopManager(on_start=fail_once)
    waits = threading.Event()
    life = lifecycle_of(manager)
    wait = life.wait_started

    def wait_started() -> bool:
        waits.set()
        return wait()

    life.wait_started = wait_started  # type: ignore[method-assign]
    first, second = Worker(), Worker()
    failing = first.begin(lambda: start_once(manager))
    reached(entered)
    other = second.begin(lambda: start_once(manager))
    reached(waits)
    go.set()
    assert isinstance(failing.exception(20), LookupError)
    assert other.result(20) is manager
    assert manager.run(give(1)) == 1
    manager.stop()
    for worker in (first, second):
        worker.end()


@on_worker
def test_only_one_of_many_starts_it(loop_factory: LoopFactory | None) -> None:
    """Threads that start the same manager at once: one succeeds, the others hear of it."""
    manager = AsyncioLoopManager(loop_factory=loop_factory)
    barrier = threading.Barrier(4)

    def start() -> None:
        barrier.wait(20)
        manager.start()

    workers = [Worker() for _ in range(4)]
    futures = [worker.begin(start) for worker in workers]
    errors = [future.exception(20) for future in futures]
    assert [type(error) for error in errors if error] == [ManagerStateError] * 3
    assert manager.run(give(1)) == 1
    manager.stop()
    for worker in workers:
        worker.end()


@on_worker
def test_again_after_a_stop(make_manager: MakeManager) -> None:
    """A stopped manager may be started again, with a new loop, as often as one likes."""
    manager = make_manager()
    loops = []
    for _ in range(4):
        loops.append(manager.get_event_loop())
        assert manager.run(give("page")) == "page"
        manager.stop()
        manager.start()
    assert len(set(map(id, loops))) == 4
    assert all(loop.is_closed() for loop in loops)


def test_a_restart_is_stopped_with_its_thread_too(
    loop_factory: LoopFactory | None, runner: str
) -> None:
    """A manager that was stopped and started again still ends with its owner."""

    def restart() -> tuple[AsyncioLoopManager, Endless]:
        manager = AsyncioLoopManager(loop_factory=loop_factory)
        manager.start()
        manager.stop()
        manager.start()
        task = Endless()
        manager.submit_task(task.wait())
        reached(task.began)
        return manager, task

    with Worker(resident=runner == "resident") as owner:
        manager, task = owner.call(restart)
    reached(task.cleaned)
    wait_until(lambda: manager.state == "stopped", "the manager is stopped")


@on_worker
def test_a_loop_factory_that_fails() -> None:
    """What the loop's factory raises is raised here, and the next `start()` may succeed."""
    failures = [LookupError("no loop today")]

    def factory() -> asyncio.AbstractEventLoop:
        if failures:
            raise failures.pop()
        return asyncio.SelectorEventLoop()

    manager = AsyncioLoopManager(loop_factory=factory)
    with pytest.raises(LookupError, match="no loop today"):
        manager.start()
    with pytest.raises(RuntimeError, match="not started"):
        manager.run(give(1))
    manager.start()
    assert manager.run(give(1)) == 1
    manager.stop()


@pytest.mark.parametrize("begun", [False, True], ids=["before", "after"])
def test_interrupted_as_the_thread_starts(monkeypatch: pytest.MonkeyPatch, begun: bool) -> None:
    """What a signal handler raises meanwhile is raised here, and no thread is left behind."""
    threads: list[threading.Thread] = []

    def start_thread(target: Callable[[], None], name: str) -> threading.Thread:
        thread = threading.Thread(target=target, name=name, daemon=True)
        threads.append(thread)
        if begun:
            thread.start()
            wait_until(loops[0].is_running, "the loop does not run")
        raise KeyboardInterrupt

    loops: list[asyncio.AbstractEventLoop] = []

    def factory() -> asyncio.AbstractEventLoop:
        loops.append(asyncio.SelectorEventLoop())
        return loops[-1]

    manager = AsyncioLoopManager(loop_factory=factory)
    with monkeypatch.context() as patch:
        patch.setattr(primitives, "start_thread", start_thread)
        with pytest.raises(KeyboardInterrupt) as raised:
            manager.start()
    assert raised.value.__context__ is None
    assert manager.state == "new"
    assert loops[0].is_closed()
    if not begun:
        threads[0].start()  # it has come too late
    ended(threads[0])
    manager.start()
    assert manager.run(give(1)) == 1
    manager.stop()


class Broken(selectors.DefaultSelector):
    def select(self, timeout: float | None = None) -> NoReturn:
        raise OSError("broken")


def child_broken_loop() -> None:
    """Start a manager whose loop cannot run at all."""
    manager = AsyncioLoopManager(loop_factory=lambda: asyncio.SelectorEventLoop(Broken()))
    try:
        manager.start()
    except ManagerStateError as error:
        say(f"{error} {manager.state}")


def test_a_loop_that_fails_before_it_runs() -> None:
    """The start raises, and hangs nobody; the log has what the loop raised."""
    out, err, status = run_process(child_broken_loop)
    assert "failed before it ran" in out
    assert out.endswith("new\n")
    assert "OSError: broken" in err
    assert status == 0


@on_worker
def test_a_loop_factory_that_returns_no_loop() -> None:
    """A factory that forgets to return the loop is told apart from a loop that is broken."""
    manager = AsyncioLoopManager(loop_factory=lambda: None)  # type: ignore[arg-type,return-value]
    with pytest.raises(TypeError, match="loop_factory"):
        manager.start()


def test_for_another_thread(loop_factory: LoopFactory | None, runner: str) -> None:
    """A manager that was made for another thread is that thread's own, and ends with it.

    On a thread that a loop can live on, it lives there if that thread starts it.
    """
    owner = Worker(resident=runner == "resident")
    manager = AsyncioLoopManager(creator_thread=owner.thread, loop_factory=loop_factory)
    owner.call(manager.start)
    assert (owner.call(manager.run, where()) is owner.thread) == (runner == "resident")
    assert f"of thread {owner.thread.name!r}" in repr(manager)
    task = Endless()
    owner.call(manager.submit_task, task.wait())
    reached(task.began)
    owner.end()
    reached(task.cleaned)
    wait_until(lambda: manager.state == "stopped", "the manager is stopped")


@on_worker
def test_started_by_another_thread(loop_factory: LoopFactory | None, runner: str) -> None:
    """It is its owner's even if that never comes near it, and another thread starts it.

    Its loop does not live on the owner's thread then, nor on the other one's.
    """
    owner = Worker(resident=runner == "resident")
    manager = AsyncioLoopManager(creator_thread=owner.thread, loop_factory=loop_factory)
    manager.start()
    assert manager.run(where()) not in (owner.thread, threading.current_thread())
    task = Endless()
    manager.submit_task(task.wait())
    reached(task.began)
    owner.end()
    reached(task.cleaned)
    wait_until(lambda: manager.state == "stopped", "the manager is stopped")


def test_an_owner_that_cannot_be_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no thread can wait for its end, nothing is started; the next start is complete."""

    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    go_on = threading.Event()
    owner = threading.Thread(target=go_on.wait)
    owner.start()
    manager = AsyncioLoopManager(creator_thread=owner)
    with monkeypatch.context() as patch:
        patch.setattr(threads, "start_thread", refuse)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            manager.start()
    assert manager.state == "new"
    manager.start()
    assert manager.run(give(1)) == 1
    go_on.set()
    owner.join()
    wait_until(lambda: manager.state == "stopped", "it has outlived its thread")


def test_owners_that_will_not_do() -> None:
    """A thread that has ended, or has not begun, can own nothing; nor can what is no thread."""
    thread = threading.Thread(target=int)
    with pytest.raises(RuntimeError, match="alive"):
        AsyncioLoopManager(creator_thread=thread)
    thread.start()
    assert ended(thread)
    with pytest.raises(RuntimeError, match="alive"):
        AsyncioLoopManager(creator_thread=thread)
    with pytest.raises(TypeError, match="creator_thread"):
        AsyncioLoopManager(creator_thread="me")  # type: ignore[arg-type]


def test_an_id_has_to_be_hashable() -> None:
    """An id that cannot be looked up is refused when the manager is made."""
    with pytest.raises(TypeError, match="unhashable"):
        AsyncioLoopManager([])  # type: ignore[arg-type]


def test_a_factory_that_returns_one_loop_twice_is_refused() -> None:
    """The manager that has the loop is not disturbed, and after its end the loop is closed."""
    loop = asyncio.new_event_loop()
    first = AsyncioLoopManager("first", loop_factory=lambda: loop)
    second = AsyncioLoopManager("second", loop_factory=lambda: loop)
    with first:
        with pytest.raises(ManagerStateError, match="in use or closed"):
            second.start()
        assert first.run(asyncio.to_thread(int)) == 0
    with pytest.raises(ManagerStateError, match="in use or closed"):
        second.start()
    assert second.state == "new"


@on_worker
def test_on_start_finds_its_manager(make_manager: MakeManager) -> None:
    """`current_manager()` is the manager that starts, not another one that is made for it."""
    found = []

    async def hook() -> None:
        found.append(current_manager())

    manager = make_manager(on_start=hook)
    assert found == [manager]
