"""Context variables and asgiref's `Local`, through all layers."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.local import Local
from asgiref.sync import sync_to_async

from tests.async_to_sync.parts import ident
from wsgi_async import async_to_sync

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.async_to_sync.conftest import Start
    from tests.core.support import Worker

variable: contextvars.ContextVar[Any] = contextvars.ContextVar("variable", default=None)
local = Local()
critical = Local(thread_critical=True)


def get() -> Any:
    return variable.get(), getattr(local, "value", None)


def put(value: Any) -> Any:
    """Set both; return what was there."""
    before = get()
    variable.set(value)
    local.value = value
    return before


async def aput(value: Any) -> Any:
    await asyncio.sleep(0)
    return put(value)


@pytest.fixture(params=[True, False])
def sensitive(request: pytest.FixtureRequest) -> bool:
    """Whether sync functions run on the calling thread."""
    value: bool = request.param
    return value


def test_both_ways(worker: Worker, start: Start, mode: str, sensitive: bool) -> None:
    """What one layer sets the next one sees, down and up again."""
    start()

    async def outer() -> list[Any]:
        seen = [get()]
        put(2)
        seen.append(await sync_to_async(sync, thread_sensitive=sensitive)())
        seen.append(get())
        put(6)
        return seen

    def sync() -> list[Any]:
        seen = [put(3), async_to_sync(inner)(), get()]
        put(5)
        return seen

    async def inner() -> Any:
        return await aput(4)

    def view() -> list[Any]:
        put(1)
        return [async_to_sync(outer)(), get()]

    seen = worker.call(contextvars.copy_context().run, view)
    assert seen == [[(1, 1), [(2, 2), (3, 3), (4, 4)], (5, 5)], (6, 6)]


def test_separate_branches(worker: Worker, start: Start, mode: str) -> None:
    """Branches that run side by side do not see each other's values, nor does the caller."""
    start()

    async def branch(number: int) -> bool:
        await sync_to_async(put)(number)
        await asyncio.sleep(0)
        seen = get(), await sync_to_async(get)()
        return seen == ((number, number), (number, number))

    async def branches() -> list[bool]:
        return list(await asyncio.gather(*(branch(number) for number in range(10))))

    def view() -> list[Any]:
        put("view")
        return [async_to_sync(branches)(), get()]

    seen = worker.call(contextvars.copy_context().run, view)
    assert seen == [[True] * 10, ("view", "view")]


def test_requests_are_apart(worker: Worker, start: Start, mode: str) -> None:
    """What one context has set the next one on the same thread does not see."""
    start()

    async def both(value: int) -> Any:
        return await sync_to_async(put)(value)

    for _ in range(2):
        run = contextvars.copy_context().run
        assert worker.call(run, async_to_sync(both), 1) == (None, None)


def test_after_an_error(worker: Worker, start: Start, mode: str) -> None:
    """What was set before an error is seen by who handles it."""
    start()

    async def fail() -> None:
        await sync_to_async(put)(1)
        raise KeyError

    def view() -> Any:
        with pytest.raises(KeyError):
            async_to_sync(fail)()
        return get()

    assert worker.call(contextvars.copy_context().run, view) == (1, 1)


def test_thread_critical(worker: Worker, start: Start, mode: str) -> None:
    """A `thread_critical` one (a database connection) is the calling thread's, not the loop's."""
    start()

    def look() -> Any:
        return getattr(critical, "value", None)

    async def coroutine() -> list[Any]:
        elsewhere = sync_to_async(look, thread_sensitive=False)
        seen = [look(), await sync_to_async(look)(), await elsewhere()]
        await sync_to_async(setattr)(critical, "value", 2)
        return seen

    def view() -> list[Any]:
        critical.value = 1
        return [*async_to_sync(coroutine)(), look()]

    assert worker.call(view) == [None, 1, None, 2]


def test_thread_local(worker: Worker, start: Start, mode: str) -> None:
    """So is a `threading.local`."""
    start()
    mine = threading.local()

    async def coroutine() -> Any:
        return await sync_to_async(getattr)(mine, "value")

    def view() -> Any:
        mine.value = 3
        return async_to_sync(coroutine)()

    assert worker.call(view) == 3


def test_stream(worker: Worker, start: Start, mode: str) -> None:
    """A stream's sync functions see what its generator has set, and the generator theirs."""
    manager = start()

    async def items() -> AsyncIterator[Any]:
        for number in range(1, 4):
            yield await sync_to_async(put)(number), get()

    def view() -> list[Any]:
        put(0)
        return [*manager.iterate(items()), get()]

    seen = worker.call(contextvars.copy_context().run, view)
    assert seen == [((n - 1, n - 1), (n, n)) for n in range(1, 4)] + [(0, 0)]


def test_explicit_context(worker: Worker, start: Start, mode: str) -> None:
    """With `run(context=)` both layers work in that context."""
    manager = start()

    async def coroutine() -> Any:
        return await sync_to_async(put)(2)

    def view() -> list[Any]:
        put(0)
        context = contextvars.copy_context()
        context.run(put, 1)
        seen = manager.run(coroutine(), context=context, copy_back=False)
        return [seen, get(), context.run(variable.get), manager.run(coroutine(), context=context)]

    seen = worker.call(contextvars.copy_context().run, view)
    assert seen == [(1, 1), (0, 0), 2, (2, 2)]


def test_context_of_the_sync_function(worker: Worker, start: Start, mode: str) -> None:
    """With `sync_to_async(context=)` the function works in that one."""
    start()

    async def coroutine() -> Any:
        context = contextvars.copy_context()
        context.run(variable.set, "given")
        return await sync_to_async(variable.get, context=context)(), variable.get()

    assert worker.call(contextvars.copy_context().run, async_to_sync(coroutine)) == ("given", None)


def test_from_a_third_thread(worker: Worker, start: Start, mode: str) -> None:
    """A coroutine that a pool's thread calls back sees that thread's values, and it its own."""
    start()

    def elsewhere() -> Any:
        put(2)
        return async_to_sync(aput)(3), get(), ident()

    async def outer() -> Any:
        put(1)
        return await sync_to_async(elsewhere, thread_sensitive=False)(), get()

    seen = worker.call(contextvars.copy_context().run, async_to_sync(outer))
    (inner, after, thread), back = seen
    assert (inner, after, back) == ((2, 2), (3, 3), (3, 3))
    assert thread != worker.thread.ident
