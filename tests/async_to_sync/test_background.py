"""Sync functions of background tasks, which run in asgiref's one thread, and wait there."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import gc
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

import pytest
from asgiref.sync import sync_to_async

from tests.async_to_sync.parts import called_on, ident, make, on_thread
from tests.core.support import LIMIT, in_process, say
from wsgi_async import async_to_sync, loop_resource
from wsgi_async.bridges.asgiref.one_thread import submit_to, thread_inbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from wsgi_async import AsyncioLoopManager

P = ParamSpec("P")


def in_background(manager: AsyncioLoopManager, function: Callable[[], Any]) -> Any:
    """What a function returns that a submitted task calls."""

    async def call() -> Any:
        return await sync_to_async(function)()

    return manager.submit_task(call()).result(LIMIT)


def in_worker(
    use: Callable[Concatenate[AsyncioLoopManager, P], None],
) -> Callable[Concatenate[str, P], None]:
    """Make it what runs in a thread of its own, with a manager that is stopped after it.

    Its first argument says where the loop lives.
    """

    @functools.wraps(use)
    def child(mode: str, /, *args: P.args, **kwargs: P.kwargs) -> None:
        def run() -> None:
            manager = make()
            use(manager, *args, **kwargs)
            manager.stop()

        on_thread(mode, run)

    return child


@in_worker
def child_waits(manager: AsyncioLoopManager, kind: int) -> None:
    """A function of a background task waits for another such task, three deep."""

    def wait(depth: int) -> list[int]:
        if not depth:
            return [ident()]

        async def call() -> list[int]:
            before = await called_on()
            branch = sync_to_async(wait)
            one, two = await asyncio.gather(branch(depth - 1), branch(depth - 1))
            return [before, *one, *two]

        future = manager.submit_task(call())
        if kind == 1:
            assert future.exception(LIMIT) is None
        if kind == 2:
            assert future.wait(LIMIT)
        return [ident(), *future.result(LIMIT)]

    threads = in_background(manager, lambda: wait(3))
    say(f"{len(set(threads))} of {len(threads)}")


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_waits_for_another_task(mode: str, kind: int) -> None:
    """The thread runs what that task calls meanwhile, at any depth, and all of it."""
    assert in_process(child_waits, mode, kind) == "1 of 22\n"


@in_worker
def child_asked_before(manager: AsyncioLoopManager) -> None:
    """The other task has asked for its function before anybody waits for it."""
    asked = threading.Event()

    async def call() -> int:
        asking = asyncio.ensure_future(called_on())
        await asyncio.sleep(0)
        asked.set()
        return await asking

    def function() -> bool:
        future = manager.submit_task(call())
        assert asked.wait(LIMIT)
        with pytest.raises(TimeoutError):
            future.result(0)
        return future.result(LIMIT) == ident()

    assert in_background(manager, function)


def test_asked_before_it_waits(mode: str) -> None:
    """It does not matter which comes first, the wait or what the task asks for."""
    in_process(child_asked_before, mode)


@in_worker
def child_nobody_waits(manager: AsyncioLoopManager) -> None:
    """The function ends without a wait; another has an error, and one is cancelled."""
    asked = threading.Event()
    order: list[str] = []

    def fail() -> None:
        order.append("fail")
        raise ValueError("no")

    async def call() -> int:
        lost = asyncio.ensure_future(sync_to_async(order.append)("cancelled"))
        failing = asyncio.ensure_future(sync_to_async(fail)())
        asking = asyncio.ensure_future(called_on())
        await asyncio.sleep(0)
        lost.cancel()
        for _ in range(5):  # turns, until the function's own future knows
            await asyncio.sleep(0)
        asked.set()
        with pytest.raises(ValueError, match="no"):
            await failing
        return await asking

    def function() -> tuple[int, concurrent.futures.Future[int]]:
        future = manager.submit_task(call())
        assert asked.wait(LIMIT)
        order.append("function")
        return ident(), future

    thread, future = in_background(manager, function)
    assert future.result(LIMIT) == thread
    assert order == ["function", "fail"]


def test_ends_without_a_wait(mode: str) -> None:
    """What the other task calls then runs after it."""
    in_process(child_nobody_waits, mode)


@in_worker
def child_strangers(manager: AsyncioLoopManager) -> None:
    """While a function waits, a task comes that it has not submitted."""
    began = threading.Event()
    order: list[str] = []
    go = asyncio.Event()

    async def strange() -> None:
        await asyncio.to_thread(began.wait, LIMIT)
        asking = asyncio.ensure_future(sync_to_async(order.append)("stranger"))
        await asyncio.sleep(0)
        go.set()
        await asking

    async def call() -> None:
        began.set()
        await go.wait()
        await sync_to_async(order.append)("own")

    def function() -> None:
        manager.submit_task(call()).result(LIMIT)
        order.append("function")

    stranger = manager.submit_task(strange())
    in_background(manager, function)
    stranger.result(LIMIT)
    assert order == ["own", "function", "stranger"]


def test_strangers_wait(mode: str) -> None:
    """A function's transaction gets nothing in between of tasks that it has not submitted."""
    in_process(child_strangers, mode)


@in_worker
def child_other_ways(manager: AsyncioLoopManager) -> None:
    """The function waits for coroutines in other ways."""

    def function() -> set[int]:
        future = manager.submit_task(called_on(), return_sync_future=True)
        assert future.wait(LIMIT)
        ways = [async_to_sync(called_on)(), manager.run(called_on()), opened.get()]
        return {ident(), future.result(), *ways}

    @loop_resource
    async def opened() -> AsyncIterator[int]:
        yield await called_on()

    assert len(in_background(manager, function)) == 1


def test_other_waits(mode: str) -> None:
    """So do the waits of a `SyncFuture`, and calls run on the thread as usual, openings too."""
    in_process(child_other_ways, mode)


@in_worker
def child_coroutine_submits(
    manager: AsyncioLoopManager,
) -> None:
    """The function calls coroutines that submit tasks, and wait for them or leave it to others."""
    other = make()

    async def waits() -> int:
        return await asyncio.wrap_future(manager.submit_task(called_on()))

    async def waits_deep() -> int:
        return await asyncio.wrap_future(manager.submit_task(waits()))

    async def leaves() -> concurrent.futures.Future[int]:
        return manager.submit_task(called_on())

    async def leaves_branch() -> asyncio.Task[int]:
        return asyncio.create_task(called_on())

    async def wait_for(future: asyncio.Future[int] | concurrent.futures.Future[int]) -> int:
        return await asyncio.wrap_future(future)

    async def yields() -> AsyncIterator[int]:
        yield await waits()
        yield await waits_deep()

    @asynccontextmanager
    async def opens() -> AsyncIterator[int]:
        yield await waits()
        await waits_deep()

    async def called_on_after(future: concurrent.futures.Future[int]) -> int:
        return await sync_to_async(future.result)(LIMIT)

    def function() -> set[int]:
        with manager.wrap_async_context_manager(opens()) as one:
            pass
        return {
            ident(),
            one,
            async_to_sync(waits)(),
            manager.run(waits_deep()),
            manager.run(leaves()).result(LIMIT),
            manager.run(wait_for(manager.run(leaves()))),
            manager.run(wait_for(manager.run(leaves_branch()))),
            manager.run(wait_for(manager.submit_task(called_on()))),
            other.run(wait_for(manager.submit_task(called_on()))),
            other.run(waits()),
            other.run(called_on_after(manager.submit_task(called_on()))),
            *manager.iterate(yields()),
            *manager.iterate(yields(), prefetch=1),
        }

    assert len(in_background(manager, function)) == 1
    other.stop()


def test_its_coroutine_waits_for_another_task(mode: str) -> None:
    """So does the wait for a coroutine that itself submits a task and awaits it."""
    in_process(child_coroutine_submits, mode)


@in_worker
def child_polls(manager: AsyncioLoopManager) -> None:
    """The function looks again and again whether a task has ended."""
    held: list[int] = []

    def function() -> int:
        go = asyncio.Event()

        async def call() -> int:
            await go.wait()
            return await called_on()

        future = manager.submit_task(call())
        for _ in range(20):
            with pytest.raises(TimeoutError):
                future.result(0)
        held.append(sum(type(one) is threading.Event for one in gc.get_objects()))
        manager.get_event_loop().call_soon_threadsafe(go.set)
        return future.result(LIMIT)

    assert in_background(manager, function)
    assert held[0] < 20


def test_polling(mode: str) -> None:
    """A function that polls a future leaves nothing on it each time, and gets its outcome."""
    in_process(child_polls, mode)


def test_what_is_left_when_the_thread_takes_nothing_more() -> None:
    """At the end of the process a function runs all the same that its caller waits for."""
    ran: list[int] = []

    def last() -> None:
        inbox = thread_inbox()
        assert inbox is not None
        executor.shutdown(wait=False)
        assert inbox.put(lambda: ran.append(ident()))

    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        thread = executor.submit(ident).result(LIMIT)
        submit_to(executor, last).result(LIMIT)
    assert ran == [thread]
