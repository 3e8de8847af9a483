"""The cases in which a caller does not drive, and what drive="keeper" and "caller" make of them."""

from __future__ import annotations

import asyncio
import sys
import threading
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from tests.driver.foreign import ForeignLoop
from tests.driver.parts import FAR, LIMIT, Door, Worker, keeper_of, make, started, steps, value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.driver.conftest import Start
    from wsgi_async import AsyncioLoopManager

MAIN = threading.main_thread().ident


@pytest.fixture
def start_here(
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None,
) -> Iterator[Callable[..., AsyncioLoopManager]]:
    """Starts a manager of the main thread, where tests run."""
    managers: list[AsyncioLoopManager] = []

    def start(**options: Any) -> AsyncioLoopManager:
        assert threading.get_ident() == MAIN
        managers.append(make(None, linger=FAR, loop_factory=loop_factory, **options))
        return managers[-1]

    yield start
    for manager in managers:
        manager.stop(LIMIT / 2)


def submit_and_wait(manager: AsyncioLoopManager) -> list[int]:
    return manager.submit_task(steps(), return_sync_future=True).result(LIMIT)


def run(manager: AsyncioLoopManager) -> list[int]:
    return manager.run(steps())


WAYS = pytest.mark.parametrize("way", [run, submit_and_wait])


@WAYS
def test_the_main_thread_does_not_drive(
    start_here: Callable[..., AsyncioLoopManager],
    way: Callable[[AsyncioLoopManager], list[int]],
) -> None:
    """No signal handler can raise inside the loop, as the main thread only waits."""
    manager = start_here()
    for _ in range(3):
        assert way(manager) == [keeper_of(manager)] * 5


@WAYS
def test_the_main_thread_drives_where_the_user_says_so(
    start_here: Callable[..., AsyncioLoopManager],
    way: Callable[[AsyncioLoopManager], list[int]],
) -> None:
    """With drive="caller" the main thread steps its own coroutines."""
    manager = start_here(drive="caller")
    for _ in range(3):
        assert way(manager) == [MAIN] * 5


def in_except(fn: Callable[[], list[int]]) -> list[int]:
    try:
        raise ValueError("being handled")
    except ValueError:
        return fn()


def in_finally(fn: Callable[[], list[int]]) -> list[int]:
    threads: list[int] = []
    try:
        try:
            raise ValueError("on its way")
        finally:
            threads += fn()
    except ValueError:
        return threads


def on_exit(fn: Callable[[], list[int]]) -> list[int]:
    class Block:
        def __enter__(self) -> None:
            pass

        def __exit__(self, *failure: object) -> bool:
            self.threads = fn()
            return True

    block = Block()
    with block:
        raise ValueError("leaves the block")
    return block.threads


@WAYS
@pytest.mark.parametrize("where", [in_except, in_finally, on_exit])
def test_who_handles_an_exception_does_not_drive(
    start: Start,
    own: Worker,
    where: Callable[[Callable[[], list[int]]], list[int]],
    way: Callable[[AsyncioLoopManager], list[int]],
) -> None:
    """A call in an except block, a finally or an __exit__ runs on the keeper; the next does not."""
    manager = start(linger=FAR)
    assert own.call(where, lambda: way(manager)) == [keeper_of(manager)] * 5
    assert own.call(run, manager) == [own.ident] * 5


def test_an_exception_that_is_handled_leaks_into_no_task(start: Start, own: Worker) -> None:
    """A background task that fails meanwhile has no stranger's exception as its context."""
    manager = start(linger=FAR)
    tasks: list[asyncio.Task[None]] = []
    door = Door()

    async def fail() -> None:
        await door.walk()
        raise KeyError("of the background task")

    async def leave_behind() -> None:
        tasks.append(asyncio.get_running_loop().create_task(fail()))
        while not door.reached.is_set():
            await asyncio.sleep(0)

    async def until_it_failed() -> BaseException | None:
        door.open()
        await asyncio.wait(tasks)
        return tasks[0].exception()

    def while_handling() -> BaseException | None:
        try:
            raise ValueError("of the request")
        except ValueError:
            return manager.run(until_it_failed())

    own.call(manager.run, leave_behind())
    failure = own.call(while_handling)
    assert isinstance(failure, KeyError)
    assert failure.__context__ is None


@WAYS
def test_a_loop_of_an_unknown_class_stays_on_the_keeper(
    own: Worker, way: Callable[[AsyncioLoopManager], list[int]]
) -> None:
    """A loop that may not bear to change its thread is only ever run by one."""
    with started(own, linger=FAR, loop_factory=ForeignLoop) as manager:
        for _ in range(3):
            assert own.call(way, manager) == [keeper_of(manager)] * 5
    with started(own, linger=FAR, loop_factory=ForeignLoop, drive="caller") as manager:
        assert own.call(way, manager) == [own.ident] * 5


@WAYS
@pytest.mark.parametrize("library", ["sqlalchemy.ext.asyncio", "greenback"])
def test_greenlets_keep_every_caller_from_driving(
    start: Start,
    own: Worker,
    monkeypatch: pytest.MonkeyPatch,
    library: str,
    way: Callable[[AsyncioLoopManager], list[int]],
) -> None:
    """From the moment that a library with greenlets is imported, only the keeper drives."""
    manager, checked = start(linger=FAR), start(linger=FAR, drive="caller")
    assert own.call(way, manager) == [own.ident] * 5
    monkeypatch.setitem(sys.modules, library, ModuleType(library))
    for _ in range(3):
        assert own.call(way, manager) == [keeper_of(manager)] * 5
        assert own.call(way, checked) == [own.ident] * 5


@WAYS
def test_drive_keeper_makes_every_caller_wait(
    start: Start, own: Worker, other: Worker, way: Callable[[AsyncioLoopManager], list[int]]
) -> None:
    """With drive="keeper" no thread but the keeper ever steps a coroutine."""
    manager = start(linger=FAR, drive="keeper")
    for worker in (own, other, own):
        assert worker.call(way, manager) == [keeper_of(manager)] * 5


@WAYS
def test_drive_caller_lets_every_thread_drive(
    start: Start, own: Worker, other: Worker, way: Callable[[AsyncioLoopManager], list[int]]
) -> None:
    """With drive="caller" whoever calls drives: owner or not, handling an exception or not."""
    manager = start(linger=FAR, drive="caller")
    for worker in (own, other, own):
        assert worker.call(way, manager) == [worker.ident] * 5
        assert worker.call(in_except, lambda: way(manager)) == [worker.ident] * 5


def test_drive_caller_lets_callers_drive_beside_background_work(start: Start, own: Worker) -> None:
    """With drive="caller" a background task costs the calls nothing, though it changes threads."""
    manager = start(linger=FAR, drive="caller")
    door = Door()
    background = own.call(manager.submit_task, door.walk())
    door.await_reached()
    for _ in range(3):
        assert own.call(run, manager) == [own.ident] * 5
    door.open()
    assert background.result(LIMIT)[0] == keeper_of(manager)


def test_drive_caller_lets_the_next_waiter_go_on_driving(
    start: Start, own: Worker, other: Worker
) -> None:
    """With drive="caller" a waiter whose work began under another caller takes over from it."""
    manager = start(linger=FAR, drive="caller")
    first, second = Door(), Door()
    one = own.submit(manager.run, first.walk())
    first.await_reached()
    two = other.submit(manager.run, second.walk())
    second.await_reached()
    first.open()
    assert one.result(LIMIT) == [own.ident] * 2
    second.open()
    assert two.result(LIMIT) == [own.ident, other.ident]


def test_the_result_is_the_coroutines_in_every_mode(start: Start, own: Worker) -> None:
    """Who drives changes nothing of what a call returns or raises."""

    async def fail() -> None:
        raise LookupError("mine")

    for drive in ("auto", "keeper", "caller"):
        manager = start(linger=FAR, drive=drive)
        assert own.call(manager.run, value(drive)) == drive
        with pytest.raises(LookupError, match="mine"):
            own.call(manager.run, fail())
