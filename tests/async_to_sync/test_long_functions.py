"""A sync function that lasts, and what goes on meanwhile."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from typing import TYPE_CHECKING

import pytest
from asgiref.local import Local
from asgiref.sync import async_to_sync as asgirefs_own
from asgiref.sync import sync_to_async

from tests.async_to_sync.parts import (
    Branches,
    called_on,
    ident,
    keeper_only,
    resident_only,
    stepped_by,
)
from tests.core.support import BEGIN, LIMIT, Worker, reached, wait_until
from wsgi_async import async_to_sync

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.async_to_sync.conftest import Start

local = Local()


@keeper_only
def test_branch_sets_what_it_waits_for(worker: Worker, start: Start) -> None:
    """A sync function that waits for another branch of its coroutine gets it."""
    start()
    branches = Branches()
    assert worker.call(async_to_sync(branches.both))
    first, last = branches.stepped
    assert first == last != worker.thread.ident


@keeper_only
def test_nested(worker: Worker, start: Start) -> None:
    """At any depth; the layers above go on as before."""
    start()
    branches = Branches()

    async def layer(left: int) -> list[int]:
        if not left:
            assert await branches.both()
            return []
        below = await sync_to_async(async_to_sync(layer))(left - 1)
        return [*below, await called_on()]

    assert worker.call(async_to_sync(layer), 4) == [worker.thread.ident] * 4


@keeper_only
def test_outer_branch(worker: Worker, start: Start) -> None:
    """An inner sync function may wait for a branch of the outermost coroutine, and again."""
    start()
    inner, outer = Branches(), Branches()

    async def nested() -> bool:
        return bool(await sync_to_async(inner.wait)())

    def function() -> bool:
        return bool(async_to_sync(nested)()) and outer.wait()

    async def call() -> bool:
        waited, *_ = await asyncio.gather(sync_to_async(function)(), inner.set(), outer.set())
        return bool(waited)

    assert worker.call(async_to_sync(call))


def test_branches_go_on_while_it_calls(worker: Worker, start: Start) -> None:
    """While a sync function waits for coroutines of its own, other branches get on."""
    manager = start()
    turns: list[int] = []

    def function() -> list[int]:
        seen = [len(turns)]
        for wait in (
            lambda: manager.run(asyncio.sleep(0.01)),
            lambda: manager.submit_task(asyncio.sleep(0.01)).result(LIMIT),
            lambda: async_to_sync(asyncio.sleep)(0.01),
        ):
            wait()
            seen.append(len(turns))
        return seen

    async def branch() -> None:
        while True:
            turns.append(1)
            await asyncio.sleep(0)

    async def call() -> list[int]:
        task = asyncio.create_task(branch())
        seen = await sync_to_async(function)()
        task.cancel()
        return [*seen]

    seen = worker.call(async_to_sync(call))
    assert seen == sorted(set(seen))


@keeper_only
def test_calls_again(worker: Worker, start: Start) -> None:
    """A function that has waited for another branch may call coroutines."""
    start()
    branches = Branches()

    def function() -> tuple[int, int]:
        branches.wait()
        return async_to_sync(stepped_by)(), async_to_sync(called_on)()

    async def call() -> tuple[int, int, int]:
        found, _ = await asyncio.gather(sync_to_async(function)(), branches.set())
        return *found, ident()

    stepper, caller, last = worker.call(async_to_sync(call))
    assert stepper == last != worker.thread.ident
    assert caller == worker.thread.ident


def test_stop_meanwhile(worker: Worker, start: Start) -> None:
    """A stop() while a sync function runs does not wait for that; its caller gets the error."""
    manager = start()
    began, go = threading.Event(), threading.Event()

    def function() -> None:
        began.set()
        go.wait(LIMIT)

    async def call() -> None:
        await sync_to_async(function)()

    waiting = worker.begin(async_to_sync(call))
    reached(began)
    before = time.monotonic()
    manager.stop(0.3)
    assert time.monotonic() - before < LIMIT / 2
    go.set()
    with pytest.raises(RuntimeError, match="stopped"):
        waiting.result(LIMIT)
    wait_until(lambda: manager.state == "stopped", "it is not stopped")
    assert worker.call(async_to_sync(called_on)) == worker.thread.ident


@keeper_only
def test_timeout_meanwhile(worker: Worker, start: Start) -> None:
    """A timeout cancels the coroutine while its function runs, and its cleanup calls others."""
    manager = start()
    go = threading.Event()
    cleaned: list[int] = []

    async def call() -> None:
        try:
            await sync_to_async(go.wait)(LIMIT)
        finally:
            go.set()  # else the function would last
            cleaned.append(await called_on())

    with pytest.raises(TimeoutError, match="within"):
        worker.call(lambda: manager.run(call(), timeout=BEGIN))
    assert cleaned == [worker.thread.ident]


@keeper_only
def test_local(worker: Worker, start: Start) -> None:
    """The coroutine that goes on meanwhile still sees asgiref's Locals, and sets them."""
    start()
    branches = Branches()

    async def call() -> object:
        local.value = "coroutine"
        await asyncio.gather(sync_to_async(branches.wait)(), branches.set())
        seen = local.value
        local.value = "after"
        return seen

    def view() -> tuple[object, object]:
        local.value = "view"
        return async_to_sync(call)(), local.value

    assert worker.call(contextvars.copy_context().run, view) == ("coroutine", "after")


@keeper_only
def test_stream(worker: Worker, start: Start) -> None:
    """A stream may have such a function between two items."""
    manager = start()
    branches = Branches()

    async def items() -> AsyncIterator[tuple[int, int, object]]:
        local.value = "stream"
        yield ident(), await called_on(), local.value
        await asyncio.gather(sync_to_async(branches.wait)(), branches.set())
        yield ident(), await called_on(), local.value

    first, second = worker.call(lambda: list(manager.iterate(items())))
    assert first == second
    keeper, caller, seen = first
    assert keeper != worker.thread.ident
    assert (caller, seen) == (worker.thread.ident, "stream")


@keeper_only
def test_past_the_manager(worker: Worker, start: Start) -> None:
    """A sync function that posts to its loop and waits gets its answer."""
    manager = start()

    def function() -> int:
        loop = manager.get_event_loop()
        return asyncio.run_coroutine_threadsafe(stepped_by(), loop).result(LIMIT)

    async def call() -> int:
        return await sync_to_async(function)()

    assert worker.call(async_to_sync(call)) != worker.thread.ident


def test_asgirefs_own_inside(worker: Worker, start: Start) -> None:
    """asgiref's `async_to_sync`, not replaced, works in there too."""
    start()

    async def call() -> tuple[int, int]:
        return (
            await sync_to_async(asgirefs_own(stepped_by))(),
            await sync_to_async(asgirefs_own(called_on))(),
        )

    stepper, caller = worker.call(async_to_sync(call))
    assert stepper == worker.call(async_to_sync(stepped_by))
    assert caller == worker.thread.ident


@keeper_only
def test_second_caller(worker: Worker, start: Start) -> None:
    """A second thread's call is not held up by the first one's sync function."""
    manager = start()
    branches = Branches()

    async def call() -> bool:
        return bool(await sync_to_async(branches.wait)())

    first = worker.begin(async_to_sync(call))
    reached(branches.began)
    with Worker() as second:
        assert second.call(lambda: manager.run(called_on())) == second.thread.ident
    branches.event.set()
    assert first.result(LIMIT)
    assert worker.call(async_to_sync(called_on)) == worker.thread.ident


@resident_only
def test_second_caller_of_a_resident_loop(worker: Worker, start: Start) -> None:
    """It is answered after the function, which has the loop's thread."""
    manager = start()
    began, go = threading.Event(), threading.Event()
    order: list[str] = []

    def function() -> None:
        began.set()
        assert go.wait(LIMIT)
        order.append("function")

    async def call() -> None:
        await sync_to_async(function)()

    async def other() -> int:
        order.append("other")
        return await called_on()

    first = worker.begin(async_to_sync(call))
    reached(began)
    with Worker() as second:
        waiting = second.begin(lambda: manager.run(other()))
        wait_until(lambda: "in_flight=2" in repr(manager), "it has not come in")
        go.set()
        assert waiting.result(LIMIT) == second.thread.ident
    first.result(LIMIT)
    assert order == ["function", "other"]
