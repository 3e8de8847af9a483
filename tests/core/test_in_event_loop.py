"""Waiting in a thread that runs an event loop: refused at once, with what to do instead."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.core.support import Endless, give, in_thread, on_worker, reached
from wsgi_async import AsyncioLoopManager, SyncFuture, async_to_sync_future

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from tests.core.conftest import MakeManager

    Call = Callable[[AsyncioLoopManager, Endless], object]


def run(manager: AsyncioLoopManager, task: Endless) -> object:
    return manager.run(give(1))


def result(manager: AsyncioLoopManager, task: Endless) -> object:
    return manager.submit_task(task.wait()).result()


def exception(manager: AsyncioLoopManager, task: Endless) -> object:
    return manager.submit_task(task.wait()).exception(20)


def wait(manager: AsyncioLoopManager, task: Endless) -> object:
    return manager.submit_task(task.wait()).wait(20)


def wrapped(manager: AsyncioLoopManager, task: Endless) -> object:
    return async_to_sync_future(manager.submit_task(task.wait())).result()


def by_hand(manager: AsyncioLoopManager, task: Endless) -> object:
    return SyncFuture[int]().result()


def stop(manager: AsyncioLoopManager, task: Endless) -> object:
    return manager.stop()  # type: ignore[func-returns-value]


calls = [run, result, exception, wait, wrapped, by_hand, stop]
every_call = pytest.mark.parametrize("call", calls)


def on_our_loop(manager: AsyncioLoopManager, coro: Coroutine[Any, Any, Any]) -> None:
    manager.run(coro)


def in_a_submitted_task(manager: AsyncioLoopManager, coro: Coroutine[Any, Any, Any]) -> None:
    manager.submit_task(coro).result()


def on_another_loop(manager: AsyncioLoopManager, coro: Coroutine[Any, Any, Any]) -> None:
    asyncio.run(coro)


def on_a_loop_elsewhere(manager: AsyncioLoopManager, coro: Coroutine[Any, Any, Any]) -> None:
    in_thread(asyncio.run, coro)


@every_call
@pytest.mark.parametrize(
    "where", [on_our_loop, in_a_submitted_task, on_another_loop, on_a_loop_elsewhere]
)
@on_worker
def test_is_refused(
    make_manager: MakeManager,
    call: Call,
    where: Callable[[AsyncioLoopManager, Coroutine[Any, Any, Any]], None],
) -> None:
    """Blocking a loop's thread is an error at once, on our loop and on any other."""
    manager = make_manager()
    task = Endless()

    async def block() -> None:
        with pytest.raises(RuntimeError, match="await"):
            call(manager, task)

    where(manager, block())
    assert manager.run(give("lives on")) == "lives on"


@on_worker
def test_a_with_block_is_refused_before_it_starts_the_manager() -> None:
    """Its end would have to wait; nothing is left running, and no error of the block is hidden."""

    async def use() -> None:
        with pytest.raises(RuntimeError, match=r"call start\(\), and later"), AsyncioLoopManager():
            raise AssertionError("entered")

    before = threading.enumerate()
    asyncio.run(use())
    assert threading.enumerate() == before


@on_worker
def test_what_is_done_can_be_asked(make_manager: MakeManager) -> None:
    """A future that has its outcome blocks nobody, so a coroutine may ask it."""
    manager = make_manager()
    future = manager.submit_task(give(1))
    assert future.result() == 1

    async def ask() -> Any:
        return future.result(), future.exception(), future.done()

    assert manager.run(ask()) == asyncio.run(ask()) == (1, None, True)


@on_worker
def test_what_does_not_block_is_allowed(make_manager: MakeManager) -> None:
    """In a coroutine one may submit, cancel, look, and await the future."""
    manager = make_manager()
    task = Endless()

    async def use() -> str:
        endless = manager.submit_task(task.wait())
        await asyncio.to_thread(reached, task.began)
        assert not endless.done()
        assert endless.cancel()
        return await manager.submit_task(give("page"))

    assert manager.run(use()) == "page"
    reached(task.cleaned)


@on_worker
def test_in_a_thread_of_a_coroutine(make_manager: MakeManager) -> None:
    """Sync code that a coroutine runs in `asyncio.to_thread` may wait for the same manager."""
    manager = make_manager()

    def sync_code() -> tuple[str, str]:
        first = manager.run(give("page"))
        return first, manager.submit_task(give("more")).result()

    async def nested() -> tuple[str, str]:
        return await asyncio.to_thread(sync_code)

    assert manager.run(nested()) == ("page", "more")
    assert manager.submit_task(nested()).result() == ("page", "more")
