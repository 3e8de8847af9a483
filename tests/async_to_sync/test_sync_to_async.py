"""`sync_to_async` in a coroutine: on the calling thread, outside of the loop."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import asgiref.local
import pytest
from asgiref.sync import AsyncToSync, ThreadSensitiveContext, sync_to_async

from tests.async_to_sync.parts import (
    called_on,
    ident,
    make,
    resident_only,
    running_loop,
    stepped_by,
)
from tests.core.support import LIMIT, Worker, give, reached
from wsgi_async import async_to_sync, loop_resource

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.async_to_sync.conftest import Start
    from wsgi_async import AsyncioLoopManager


def test_on_the_calling_thread(worker: Worker, start: Start, mode: str) -> None:
    """A sync function runs on the thread that called the coroutine, with no running loop."""
    manager = start()

    async def look() -> tuple[object, int, int]:
        return await sync_to_async(running_loop)(), await called_on(), ident()

    mine = worker.thread.ident
    for running, thread, stepper in (
        worker.call(async_to_sync(look)),
        worker.call(lambda: manager.run(look())),
    ):
        assert (running, thread) == (None, mine)
        assert (stepper == mine) == (mode == "resident")


def test_while_a_background_task_runs(worker: Worker, start: Start, mode: str) -> None:
    """It is the calling thread, and each coroutine on the loop's, beside a background task too."""
    manager = start()
    began, release = threading.Event(), asyncio.Event()

    async def background() -> None:
        began.set()
        await release.wait()

    future = manager.submit_task(background())
    reached(began)

    async def look() -> tuple[int, int]:
        return ident(), await called_on()

    stepper, caller = worker.call(async_to_sync(look))
    assert (stepper == caller) == (mode == "resident")
    assert caller == worker.thread.ident
    manager.get_event_loop().call_soon_threadsafe(release.set)
    future.result(LIMIT)


def test_in_an_except_block(worker: Worker, start: Start) -> None:
    """And while the caller is handling an exception."""
    start()

    def handle() -> int:
        try:
            raise KeyError
        except KeyError:
            return async_to_sync(called_on)()

    assert worker.call(handle) == worker.thread.ident


def test_from_a_second_thread(worker: Worker, start: Start, mode: str) -> None:
    """A second thread that runs a coroutine on the manager has its own functions called there."""
    manager = start()
    with Worker() as second:
        assert second.call(lambda: manager.run(called_on())) == second.thread.ident
    assert worker.call(lambda: manager.run(called_on())) == worker.thread.ident


def test_not_thread_sensitive(worker: Worker, start: Start, mode: str) -> None:
    """With `thread_sensitive=False` it runs elsewhere, and several run at a time."""
    start()
    together = threading.Barrier(2)

    def meet() -> int:
        together.wait(LIMIT)
        return ident()

    async def both() -> list[int]:
        elsewhere = sync_to_async(meet, thread_sensitive=False)
        return list(await asyncio.gather(elsewhere(), elsewhere()))

    assert worker.thread.ident not in worker.call(async_to_sync(both))


def test_gather(worker: Worker, start: Start, mode: str) -> None:
    """Several beside an await: all run on the calling thread, one at a time, in order."""
    start()
    order: list[Any] = []

    def function(number: int) -> int:
        order.append((number, ident()))
        return number

    async def wait() -> str:
        for _ in range(10):
            await asyncio.sleep(0)
        return "awaited"

    async def all_of_them() -> list[Any]:
        calls = [sync_to_async(function)(number) for number in range(20)]
        return list(await asyncio.gather(*calls, wait()))

    assert worker.call(async_to_sync(all_of_them)) == [*range(20), "awaited"]
    assert order == [(number, worker.thread.ident) for number in range(20)]


def test_ends_before_its_function(worker: Worker, start: Start, mode: str) -> None:
    """A coroutine may end while its sync function drives the loop: the call ends with both."""
    start()
    order: list[str] = []

    async def inner(ended: asyncio.Event) -> None:
        await ended.wait()
        await asyncio.sleep(0)
        order.append("inner")

    async def outer() -> str:
        ended = asyncio.Event()
        began = asyncio.Event()

        async def begin() -> None:
            began.set()
            await inner(ended)

        task = asyncio.create_task(sync_to_async(async_to_sync(begin))())
        task.add_done_callback(lambda _: order.append("task"))
        await began.wait()
        ended.set()
        return "done"

    assert worker.call(async_to_sync(outer)) == "done"
    assert order[0] == "inner"
    assert worker.call(async_to_sync(called_on)) == worker.thread.ident


@pytest.mark.parametrize("way", ["async_to_sync", "run", "mixed"])
def test_depth(worker: Worker, start: Start, mode: str, way: str) -> None:
    """Sync code in coroutines in sync code, twenty deep: all sync code is on one thread."""
    manager = start()
    threads: list[int] = []

    def sync(left: int) -> int:
        threads.append(ident())
        if way == "run" or (way == "mixed" and left % 2):
            return manager.run(layer(left))
        return async_to_sync(layer)(left)

    async def layer(left: int) -> int:
        await asyncio.sleep(0)
        if not left:
            return 0
        return 1 + await sync_to_async(sync)(left - 1)

    assert worker.call(sync, 20) == 20
    assert threads == [worker.thread.ident] * 21


def test_waits_in_a_sync_function(worker: Worker, start: Start, mode: str) -> None:
    """Each of a manager's calls that waits works in a sync function that a coroutine called."""
    manager = start()
    opened: list[int] = []

    @loop_resource
    async def resource() -> AsyncIterator[int]:
        opened.append(await give(1))
        yield 7

    async def items() -> AsyncIterator[int]:
        yield await called_on()
        yield await called_on()

    def function() -> list[Any]:
        return [
            manager.run(called_on()),
            manager.submit_task(give(2), return_sync_future=True).result(LIMIT),
            manager.submit_task(give(3)).result(LIMIT),
            list(manager.iterate(items())),
            resource.get(),
        ]

    async def call() -> list[Any]:
        return await sync_to_async(function)()

    mine = worker.thread.ident
    assert worker.call(async_to_sync(call)) == [mine, 2, 3, [mine, mine], 7]
    assert opened == [1]


def test_a_resource_that_a_sync_function_waits_for(worker: Worker, start: Start, mode: str) -> None:
    """Its opening does not wait for the thread that waits for it, nor for anybody else's."""
    manager = start()

    @loop_resource
    async def resource() -> AsyncIterator[int]:
        yield await called_on()

    async def call() -> list[int]:
        return [*await asyncio.gather(resource(), sync_to_async(resource.get)())]

    threads = worker.call(lambda: manager.run(call(), timeout=LIMIT))
    assert threads[0] == threads[1]


def test_left_behind(worker: Worker, start: Start, mode: str) -> None:
    """A task that outlives its call gets its sync functions run all the same, elsewhere."""
    manager = start()
    go = asyncio.Event()

    async def later() -> int:
        await go.wait()
        return await called_on()

    async def begin() -> asyncio.Task[int]:
        return asyncio.create_task(later())

    async def end(task: asyncio.Task[int]) -> int:
        go.set()
        return await task

    task = worker.call(async_to_sync(begin))
    manager.get_event_loop().call_soon_threadsafe(go.set)
    assert worker.call(async_to_sync(end), task) != worker.thread.ident


def test_left_behind_inside(worker: Worker, start: Start, mode: str) -> None:
    """One that outlives an inner call is served by the outer one's thread."""
    start()
    tasks: list[asyncio.Task[int]] = []
    go = asyncio.Event()

    async def later() -> int:
        await go.wait()
        return await called_on()

    async def begin() -> None:
        tasks.append(asyncio.create_task(later()))

    async def outer() -> int:
        await sync_to_async(async_to_sync(begin))()
        go.set()
        return await tasks[0]

    assert worker.call(async_to_sync(outer)) == worker.thread.ident


def test_asked_for_in_the_last_moment(worker: Worker, start: Start, mode: str) -> None:
    """What a task asks for in the very turn in which the call ends is run, and answered."""
    start()
    ran: list[int] = []

    async def begin() -> asyncio.Task[None]:
        task = asyncio.create_task(sync_to_async(ran.append)(1))
        await asyncio.sleep(0)
        return task

    async def end(task: asyncio.Task[None]) -> None:
        await task

    task = worker.call(async_to_sync(begin))
    worker.call(async_to_sync(end), task)
    assert ran == [1]


def test_background_task(worker: Worker, start: Start, mode: str) -> None:
    """A submitted task may call sync functions, also while nobody waits, and nested."""
    manager = start()

    async def background() -> tuple[int, int]:
        first = await called_on()
        return first, await sync_to_async(async_to_sync(called_on))()

    def view() -> Any:
        async def submit() -> Any:
            return manager.submit_task(background())

        return [manager.submit_task(background()), async_to_sync(submit)()]

    for future in worker.call(view):
        first, second = future.result(LIMIT)
        assert first == second != worker.thread.ident


@pytest.mark.parametrize("sync_future", [True, False])
def test_submitted_and_waited_for(
    worker: Worker, start: Start, mode: str, sync_future: bool
) -> None:
    """A sync function waits for a submitted task whose sync function runs elsewhere, at once."""
    manager = start()

    def function() -> int:
        future = manager.submit_task(called_on(), return_sync_future=sync_future)
        assert future.exception(LIMIT) is None
        return future.result(LIMIT)

    async def call() -> int:
        return await sync_to_async(function)()

    assert worker.call(async_to_sync(call)) != worker.thread.ident


def test_submitted_and_left(worker: Worker, start: Start, mode: str) -> None:
    """A task that outlives the function that has submitted it gets its own functions run."""
    manager = start()
    go = asyncio.Event()

    async def later() -> int:
        await go.wait()
        return await called_on()

    async def call() -> int:
        future = await sync_to_async(lambda: manager.submit_task(later()))()
        go.set()
        return await asyncio.wrap_future(future)

    assert manager.submit_task(call()).result(LIMIT) != worker.thread.ident


@pytest.mark.parametrize("sync_future", [True, False])
def test_submitted_and_not_waited_out(
    worker: Worker, start: Start, mode: str, sync_future: bool
) -> None:
    """A sync function may give up waiting for a submitted task, which goes on."""
    manager = start()
    go = asyncio.Event()

    def function() -> Any:
        future = manager.submit_task(go.wait(), return_sync_future=sync_future)
        with pytest.raises(TimeoutError):
            future.result(0.01)
        with pytest.raises(TimeoutError):
            future.result(0)
        return future

    async def call() -> bool:
        future = await sync_to_async(function)()
        assert not future.done()
        go.set()
        return bool(await sync_to_async(future.result)(LIMIT))

    assert worker.call(async_to_sync(call))


def test_thread_sensitive_context(worker: Worker, start: Start, mode: str) -> None:
    """As with asgiref's, the calling thread comes before a `ThreadSensitiveContext`."""
    start()

    async def call() -> int:
        async with ThreadSensitiveContext():
            return await called_on()

    assert worker.call(async_to_sync(call)) == worker.thread.ident


def test_thread_sensitive_context_with_executor(worker: Worker, start: Start, mode: str) -> None:
    """But not before one with an executor of its own, nor is that lost by a nested call."""
    start()

    async def call(pool: ThreadPoolExecutor) -> list[int]:
        async with ThreadSensitiveContext(executor=pool):
            inside = [await called_on(), await sync_to_async(async_to_sync(called_on))()]
        return [*inside, await called_on()]

    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(ident).result(LIMIT)
        threads = worker.call(async_to_sync(call), pool)
    assert threads == [other, other, worker.thread.ident]


class InPlace:
    """A `Local` as of asgiref 3.8, which changes the value of its context variable."""

    def __init__(self) -> None:
        vars(self)["variable"] = contextvars.ContextVar("in place")

    def __getattr__(self, name: str) -> Any:
        return self.variable.get({}).get(name)

    def __setattr__(self, name: str, value: Any) -> None:
        values = self.variable.get({})
        values[name] = value
        self.variable.set(values)


@pytest.mark.parametrize("kind", [asgiref.local.Local, InPlace])
def test_what_asgiref_had_there(
    worker: Worker, start: Start, monkeypatch: pytest.MonkeyPatch, kind: type
) -> None:
    """An executor of asgiref's own has to stand back during a call, and only so long."""
    start()
    monkeypatch.setattr(AsyncToSync, "executors", kind())

    async def look() -> int:
        seen = await called_on()
        AsyncToSync.executors.current = pool
        return seen

    def call() -> tuple[list[int], Any]:
        AsyncToSync.executors.current = pool
        threads = [async_to_sync(look)() for _ in range(2)]
        return threads, AsyncToSync.executors.current

    with ThreadPoolExecutor(1) as pool:
        assert worker.call(call) == ([worker.thread.ident] * 2, pool)


@pytest.mark.parametrize("prefetch", [0, 2])
def test_a_stream_that_is_a_managers_first_call(
    worker: Worker, start: Start, prefetch: int
) -> None:
    """Whatever comes first on a loop, its sync functions run on the calling thread."""
    manager = start()

    async def items() -> AsyncIterator[int]:
        for _ in range(3):
            yield await called_on()

    threads = worker.call(lambda: list(manager.iterate(items(), prefetch=prefetch)))
    assert threads == [worker.thread.ident] * 3


def test_streams(worker: Worker, start: Start, mode: str) -> None:
    """An async generator's sync functions run on the thread that iterates."""
    manager = start()
    closed: list[int] = []

    async def items() -> AsyncIterator[int]:
        try:
            for _ in range(3):
                yield await called_on()
        finally:
            closed.append(await called_on())

    mine = worker.thread.ident
    assert worker.call(lambda: list(manager.iterate(items()))) == [mine] * 3
    assert worker.call(lambda: list(manager.iterate(items(), prefetch=2))) == [mine] * 3

    def cut(prefetch: int) -> int:
        with manager.iterate(items(), prefetch=prefetch) as iterator:
            return next(iterator)

    assert worker.call(cut, 0) == mine
    assert worker.call(cut, 2) == mine
    assert closed == [mine] * 4


@pytest.mark.parametrize("error", [None, LookupError("of the function")], ids=repr)
def test_a_stream_that_ends_without_its_task(
    worker: Worker, start: Start, error: Exception | None
) -> None:
    """What a task asks for when its stream has run ahead to its end is run elsewhere."""
    manager = start()
    asked: list[asyncio.Task[int]] = []
    held = threading.Event()

    def function() -> int:
        if error is not None:
            raise error
        return ident()

    async def items() -> AsyncIterator[int]:
        yield 1
        while not held.is_set():  # until the consumer has taken the first item
            await asyncio.sleep(0)
        asked.append(asyncio.create_task(sync_to_async(function)()))
        await asyncio.sleep(0)

    async def end() -> object:
        while not asked:
            await asyncio.sleep(0)
        await asyncio.wait(asked, timeout=LIMIT)
        return asked[0].exception() or asked[0].result()

    def use() -> object:
        iterator = manager.iterate(items(), prefetch=2)
        assert next(iterator) == 1
        held.set()
        outcome = manager.run(end())
        assert list(iterator) == []
        return outcome

    outcome = worker.call(use)
    if error is not None:
        assert outcome is error
    else:
        assert outcome != worker.thread.ident


def test_context_manager(worker: Worker, start: Start, mode: str) -> None:
    """A context manager's enter and exit have their sync functions run by the `with` thread."""
    from contextlib import asynccontextmanager

    manager = start()
    exits: list[int] = []

    @asynccontextmanager
    async def cm() -> AsyncIterator[int]:
        yield await called_on()
        exits.append(await called_on())

    def use() -> tuple[int, int]:
        with manager.wrap_async_context_manager(cm()) as entered:
            inside = manager.run(called_on())
        return entered, inside

    mine = worker.thread.ident
    assert worker.call(use) == (mine, mine)
    assert exits == [mine]


def test_manager_of_another_thread(worker: Worker, start: Start, mode: str) -> None:
    """Inside one manager's call another's may be made; each serves its own caller."""
    start()
    with Worker() as second:
        theirs: AsyncioLoopManager = second.call(make)

        def function() -> tuple[int, int]:
            return theirs.run(called_on()), async_to_sync(called_on)()

        async def call() -> tuple[int, int]:
            return await sync_to_async(function)()

        mine = worker.thread.ident
        assert worker.call(async_to_sync(call)) == (mine, mine)
        assert worker.call(async_to_sync(stepped_by))
        theirs.stop(LIMIT)


@resident_only
def test_other_branches_get_going_first(worker: Worker, start: Start) -> None:
    """A request that is made beside a query is under way before the query holds up the loop."""
    if not isinstance(start().get_event_loop(), asyncio.SelectorEventLoop):
        pytest.skip("another loop cannot tell when nothing is ready, and is left at once")
    sent = threading.Event()

    async def request() -> None:
        for _ in range(3):  # as a client does that takes a connection out of its pool
            await asyncio.sleep(0)
        sent.set()

    async def view() -> bool:
        seen, _ = await asyncio.gather(sync_to_async(sent.is_set)(), request())
        return bool(seen)

    assert worker.call(async_to_sync(view))


def test_asgirefs_own_calls_and_ours_in_turn(worker: Worker, start: Start) -> None:
    """Sync and async code that call each other, by asgiref's ways and by run(), do not deadlock."""
    manager = start()

    async def down(depth: int) -> int:
        return await sync_to_async(up)(depth - 1) if depth else 0

    def up(depth: int) -> int:
        if depth % 2:
            return 1 + manager.run(down(depth))
        return 1 + AsyncToSync(down)(depth)

    # Without a limit of the wait the thread would stay blocked.
    assert worker.call(lambda: manager.run(down(5), timeout=LIMIT / 2)) == 5
