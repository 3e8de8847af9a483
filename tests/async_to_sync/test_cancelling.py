"""Cancellation and time limits while sync functions run."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import sync_to_async

from tests.async_to_sync.parts import called_on, ident, keeper_only, stepped_by
from tests.core.support import BEGIN, LIMIT, Endless, Stubborn, our_log, wait_until
from wsgi_async import TaskCancelledError, async_to_sync
from wsgi_async.core.base.deadlines import Deadline, request_deadline
from wsgi_async.core.managers.manager import lifecycle_of

SHORT = 0.05
"""Seconds of a grace, where the test is about what comes after it."""

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from concurrent.futures import Future

    from tests.async_to_sync.conftest import Start
    from tests.core.support import Worker


def cancel_soon(task: asyncio.Task[Any]) -> None:
    """Cancel a task, from any thread."""
    task.get_loop().call_soon_threadsafe(task.cancel)


def wait_for_turns(loop: asyncio.AbstractEventLoop) -> None:
    """Wait until a loop that another thread runs has turned a few times."""
    turned = threading.Event()

    def turn(left: int) -> None:
        if left:
            loop.call_soon(turn, left - 1)
        else:
            turned.set()

    loop.call_soon_threadsafe(turn, 10)
    assert turned.wait(LIMIT)


def test_function_is_not_interrupted(worker: Worker, start: Start, mode: str) -> None:
    """A coroutine that is cancelled while its sync function runs gets that; the function ends."""
    start()
    ended: list[bool] = []

    async def call() -> bool:
        def function() -> None:
            cancel_soon(task)
            ended.append(True)

        task = asyncio.create_task(sync_to_async(function)())
        await asyncio.wait([task])
        return task.cancelled() or task.done()

    assert worker.call(async_to_sync(call))
    assert ended == [True]


def test_cancelled_before_it_began(worker: Worker, start: Start, mode: str) -> None:
    """A sync function whose coroutine was cancelled before is not begun."""
    start()
    began: list[int] = []
    cancelled = threading.Event()

    def first() -> None:
        began.append(1)
        if mode == "keeper":  # which cancels the second meanwhile; else the worker does so after
            assert cancelled.wait(LIMIT)

    async def call() -> bool:
        ahead = asyncio.create_task(sync_to_async(first)())
        task = asyncio.create_task(sync_to_async(began.append)(2))
        await asyncio.sleep(0)  # both wait for the worker by now
        task.cancel()
        await asyncio.wait([task])
        cancelled.set()
        await ahead
        return task.cancelled()

    assert worker.call(async_to_sync(call))
    assert began == [1]


def test_inner_coroutine_is_cancelled(worker: Worker, start: Start, mode: str) -> None:
    """With a coroutine is cancelled what its sync function waits for; that can clean up first."""
    loop = start().get_event_loop()
    order: list[str] = []
    endless = Endless()

    def function() -> None:
        try:
            async_to_sync(endless.wait)()
        except asyncio.CancelledError:
            if mode == "keeper":  # the loop goes on meanwhile
                wait_for_turns(loop)
            order.append("function")
            raise

    async def call() -> None:
        task = asyncio.create_task(sync_to_async(function)())
        while not endless.began.is_set():
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        order.append("coroutine")

    worker.call(async_to_sync(call))
    assert endless.cleaned.is_set()
    assert order == ["function", "coroutine"]


def test_run_ends_with_the_coroutine(worker: Worker, start: Start, mode: str) -> None:
    """A timeout also ends what a sync function waits for by `run()`, at any depth."""
    manager = start()
    endless = Endless()
    ended: list[type[BaseException]] = []

    async def call(depth: int) -> None:
        def function() -> None:
            try:
                manager.run(call(depth - 1) if depth else endless.wait())
            except BaseException as error:
                ended.append(type(error))
                raise

        await sync_to_async(function)()

    with pytest.raises(TimeoutError):
        worker.call(manager.run, call(2), timeout=BEGIN)
    assert endless.cleaned.is_set()
    assert ended == [TaskCancelledError] * 3
    assert worker.call(manager.run, called_on()) == worker.thread.ident


def test_a_timeout_after_sync_functions(
    worker: Worker, start: Start, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A coroutine that has called some, and resists, is left after its grace as any other."""
    manager = start(grace=0.05)
    stubborn = Stubborn()

    async def call() -> str:
        await called_on()
        return await stubborn.wait()

    def run() -> None:
        with pytest.raises(TimeoutError, match=f"call did not end within {BEGIN} s"):
            manager.run(call(), timeout=BEGIN)

    worker.call(run)
    assert stubborn.refused.is_set()
    assert caplog.text.count("call did not end within 0.05 s after it was canceled") == 1
    stubborn.release()


def test_a_timeout_that_is_not_reached(worker: Worker, start: Start, mode: str) -> None:
    """Nothing of the call stays behind until its time would have been over."""
    manager = start()

    class Page:
        pass

    def run() -> weakref.ref[Page]:
        async def call() -> Page:
            await called_on()
            return Page()

        return weakref.ref(manager.run(call(), timeout=LIMIT))

    page = worker.call(run)

    def gone() -> bool:
        gc.collect()
        return page() is None

    wait_until(gone, "the page is kept")


def test_run_in_another_thread_ends_with_the_coroutine(
    worker: Worker, start: Start, mode: str
) -> None:
    """Also where the sync function is in a pool's thread; the next call is served as usual."""
    manager = start()
    endless = Endless()

    async def call() -> None:
        await sync_to_async(manager.run, thread_sensitive=False)(endless.wait())

    with pytest.raises(TimeoutError):
        worker.call(manager.run, call(), timeout=BEGIN)
    assert endless.cleaned.is_set()
    assert worker.call(manager.run, called_on()) == worker.thread.ident


def test_a_cancelled_call_is_no_error_in_the_log(
    worker: Worker, start: Start, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A sync function that ends by the cancellation of its coroutine leaves no traceback there."""
    gc.collect()  # asyncio logs what nobody has retrieved when it is collected
    caplog.clear()
    start()
    endless = Endless()

    async def call() -> bool:
        task = asyncio.create_task(sync_to_async(async_to_sync(endless.wait))())
        while not endless.began.is_set():
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert worker.call(async_to_sync(call))
    gc.collect()
    assert not caplog.records


def test_a_deadline_is_no_error_in_the_log(
    worker: Worker, start: Start, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor does one whose wait is over at the deadline, as its coroutine's is."""
    gc.collect()
    caplog.clear()
    manager = start()

    async def wait() -> None:
        # The deadline of both calls is over then, and comes in the same turn.
        time.sleep(BEGIN + 0.02)
        await asyncio.sleep(LIMIT)

    async def call() -> None:
        await sync_to_async(lambda: manager.run(wait()))()

    def run() -> None:
        request_deadline.set(Deadline(BEGIN))
        with pytest.raises(TimeoutError, match="deadline"):
            manager.run(call())

    worker.call(contextvars.copy_context().run, run)
    gc.collect()
    assert "never retrieved" not in caplog.text


def test_inner_coroutine_of_another_loop(worker: Worker, start: Start, mode: str) -> None:
    """What runs on a loop of its own ends by itself, and the cancelled coroutine is cancelled."""
    start()
    began, go = threading.Event(), threading.Event()
    ended: list[str] = []

    async def wait() -> None:
        began.set()
        await asyncio.to_thread(go.wait, LIMIT)
        ended.append("inner")

    async def call() -> None:
        task = asyncio.create_task(sync_to_async(async_to_sync(wait, force_new_loop=True))())
        await asyncio.to_thread(began.wait, LIMIT)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        ended.append("outer")
        go.set()

    worker.call(async_to_sync(call))
    assert ended == ["outer", "inner"]


def test_cleanup_after_a_timeout(worker: Worker, start: Start, mode: str) -> None:
    """After a timeout, `finally` blocks may call sync functions on the calling thread."""
    manager = start()
    cleaned: list[int] = []

    async def work() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            cleaned.append(await called_on())

    with pytest.raises(TimeoutError, match=f"within {BEGIN} s"):
        worker.call(lambda: manager.run(work(), timeout=BEGIN))
    assert cleaned == [worker.thread.ident]


def test_timeout_among_sync_functions(worker: Worker, start: Start, mode: str) -> None:
    """A timeout ends coroutines that do nothing but call sync functions, without an end."""
    manager = start()
    calls: list[int] = []

    def function() -> None:
        time.sleep(0.001)  # stands for work, so that the next one waits by then
        calls.append(ident())

    async def branch() -> None:
        while len(calls) < 2000:
            await sync_to_async(function)()

    async def branches() -> None:
        await asyncio.gather(*(branch() for _ in range(10)))

    while not calls:  # on a machine that stalls, the time may be over before the first of them
        with pytest.raises(TimeoutError):
            worker.call(lambda: manager.run(branches(), timeout=0.05))
    assert len(calls) < 1000
    assert set(calls) == {worker.thread.ident}


def test_timeout_among_a_streams_sync_functions(worker: Worker, start: Start) -> None:
    """The request's deadline ends a stream that runs ahead and calls such functions."""
    manager = start()
    calls: list[int] = []

    async def branch() -> None:
        while len(calls) < 2000:
            await sync_to_async(time.sleep)(0.001)
            calls.append(1)

    async def items() -> AsyncIterator[int]:
        await asyncio.gather(*(branch() for _ in range(10)))
        yield 1

    def call() -> None:
        request_deadline.set(Deadline(0.05))
        with manager.iterate(items(), prefetch=1) as iterator:
            next(iterator)

    with pytest.raises(TimeoutError):
        worker.call(contextvars.copy_context().run, call)
    assert len(calls) < 1000


def test_timeout_in_a_sync_function(worker: Worker, start: Start, mode: str) -> None:
    """A timeout that is over while a sync function runs comes when that is over."""
    manager = start()
    ended: list[bool] = []

    def function() -> None:
        time.sleep(BEGIN * 2)  # longer than the timeout
        ended.append(True)

    async def work() -> None:
        await sync_to_async(function)()
        await asyncio.get_running_loop().create_future()

    with pytest.raises(TimeoutError):
        worker.call(lambda: manager.run(work(), timeout=BEGIN))
    assert ended == [True]
    assert worker.call(async_to_sync(called_on)) == worker.thread.ident


@keeper_only
def test_timeout_when_the_loop_is_blocked_after_a_sync_function(
    worker: Worker, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """A coroutine that blocks its loop does not hold the caller for long after the timeout."""
    manager = start(grace=0.02)
    over = threading.Event()

    async def block() -> None:
        await called_on()
        over.wait(LIMIT)

    try:
        with pytest.raises(TimeoutError):
            worker.call(lambda: manager.run(block(), timeout=BEGIN))
    finally:
        over.set()
    assert [line for line in our_log(caplog) if "continues without its caller" in line]


def test_cleanup_while_the_caller_gives_up(
    worker: Worker, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """A coroutine that the loop has canceled is not canceled again in its cleanup."""
    manager = start(grace=SHORT)
    runner = lifecycle_of(manager).runner
    assert runner is not None
    cleaned: list[bool] = []

    async def call() -> None:
        await called_on()
        runner.live.grace = LIMIT  # for the cleanup; the caller has asked already when it gives up
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.sleep(6 * SHORT)  # past when the caller, too, finds the time over
            cleaned.append(True)

    with pytest.raises(TimeoutError):
        worker.call(lambda: manager.run(call(), timeout=2 * SHORT))
    assert cleaned
    assert not [line for line in our_log(caplog) if "continues without its caller" in line]


def test_deadline(worker: Worker, start: Start, mode: str) -> None:
    """The request's deadline holds at any depth, and nothing is begun after it."""
    start()
    begun: list[int] = []
    endless = Endless()

    async def begin() -> None:
        begun.append(1)

    async def inner() -> None:
        # The deadline of both calls is over then, and comes in the same turn.
        time.sleep(BEGIN + 0.02)
        await endless.wait()

    async def outer() -> None:
        await sync_to_async(async_to_sync(inner))()

    def call() -> None:
        request_deadline.set(Deadline(BEGIN))
        with pytest.raises(TimeoutError, match="deadline"):
            async_to_sync(outer)()
        with pytest.raises(TimeoutError, match="deadline"):
            async_to_sync(begin)()

    worker.call(contextvars.copy_context().run, call)
    assert endless.cleaned.is_set()
    assert begun == []


@pytest.mark.parametrize("prefetch", [0, 1])
def test_close_a_stream_in_the_middle(
    worker: Worker, start: Start, mode: str, prefetch: int
) -> None:
    """A stream that another thread closes while its sync function runs ends, cleaned up."""
    manager = start()
    began, go, cleaned = threading.Event(), threading.Event(), threading.Event()

    def function() -> None:
        began.set()
        assert go.wait(LIMIT)

    async def items() -> AsyncIterator[int]:
        try:
            yield 1
            await sync_to_async(function)()
            yield 2
        finally:
            await asyncio.sleep(0)
            cleaned.set()

    iterator = manager.iterate(items(), prefetch=prefetch)
    assert worker.call(next, iterator) == 1
    rest: Future[list[int]] = worker.begin(list, iterator)
    assert began.wait(LIMIT)
    closing = threading.Thread(target=iterator.close)
    closing.start()
    go.set()
    closing.join(LIMIT)
    assert not closing.is_alive()
    assert cleaned.wait(LIMIT)
    error = rest.exception(LIMIT)
    # It may have ended before the close came.
    assert error is None or isinstance(error, asyncio.CancelledError)


def test_task_of_a_group_fails(worker: Worker, start: Start, mode: str) -> None:
    """A failing branch cancels the one with the sync function; the next call is not affected."""
    start()

    async def fail() -> None:
        raise KeyError

    async def group() -> None:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(3):
                tasks.create_task(sync_to_async(ident)())
            tasks.create_task(fail())

    for _ in range(3):
        with pytest.raises(ExceptionGroup):
            worker.call(async_to_sync(group))
    assert (worker.call(async_to_sync(stepped_by)) == worker.thread.ident) == (mode == "resident")
