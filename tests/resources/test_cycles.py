"""Resources that wait for each other: an error names them, and nothing hangs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.core.support import on_worker
from wsgi_async import LoopResource, loop_resource

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.core.conftest import MakeManager
    from tests.resources.parts import Diary


@on_worker
def test_itself(make_manager: MakeManager, diary: Diary) -> None:
    """A resource that uses itself while it opens."""
    manager = make_manager()
    own: LoopResource[Any] = diary.resource("own", lambda: own)
    with pytest.raises(RuntimeError, match="own -> own"):
        manager.run(own(), timeout=20)


@on_worker
def test_a_ring(make_manager: MakeManager, diary: Diary) -> None:
    """Three in a ring, named in order; what stands outside the ring opens."""
    manager = make_manager()
    base = diary.resource("base")
    a: LoopResource[Any] = diary.resource("a", lambda: base, lambda: b)
    b: LoopResource[Any] = diary.resource("b", lambda: c)
    c: LoopResource[Any] = diary.resource("c", lambda: a)
    with pytest.raises(RuntimeError, match="c -> a -> b -> c"):
        manager.run(a(), timeout=20)
    assert diary.lines == ["open base"]


@on_worker
def test_from_both_ends_at_once(make_manager: MakeManager, diary: Diary) -> None:
    """Whoever closes the ring gets the error, and with it all who wait."""
    manager = make_manager()
    a: LoopResource[Any] = diary.resource("a", lambda: b)
    b: LoopResource[Any] = diary.resource("b", lambda: a)

    async def together() -> list[Any]:
        return list(await asyncio.gather(a(), b(), a(), return_exceptions=True))

    for error in manager.run(together(), timeout=20):
        assert "wait for each other" in str(error)


@on_worker
def test_through_child_tasks(make_manager: MakeManager, diary: Diary) -> None:
    """What an opening waits for in tasks of its own counts as its own."""
    manager = make_manager()

    @loop_resource
    async def a() -> AsyncIterator[int]:
        await asyncio.gather(asyncio.sleep(0), asyncio.create_task(b()))
        yield 1

    b: LoopResource[Any] = diary.resource("b", lambda: a)
    with pytest.raises(RuntimeError, match=r"b -> .*a -> b"):
        manager.run(a(), timeout=20)


@on_worker
def test_no_cycle(make_manager: MakeManager, diary: Diary) -> None:
    """One that is used along several ways is no cycle; nor is a later use of one another."""
    manager = make_manager()
    base = diary.resource("base")
    left, right = diary.resource("left", lambda: base), diary.resource("right", lambda: base)
    top = diary.resource("top", lambda: left, lambda: right, lambda: base)

    @loop_resource
    async def lazy() -> AsyncIterator[asyncio.Task[Any]]:
        told = asyncio.get_running_loop().create_future()

        async def later() -> object:
            await told
            return await user()

        asyncio.get_running_loop().call_later(0, told.set_result, None)
        yield asyncio.create_task(later())

    user = diary.resource("user", lambda: lazy)

    async def together() -> object:
        await asyncio.gather(top(), left(), right(), base())
        await user()
        return await (await lazy())

    assert manager.run(together(), timeout=20) is manager.run(user())


@on_worker
def test_no_cycle_with_what_is_left_behind(make_manager: MakeManager) -> None:
    """A task that an instance started does not hold up the next instance of that resource."""
    manager = make_manager()
    told: list[asyncio.Future[None]] = []

    @loop_resource
    async def a() -> AsyncIterator[tuple[Any, asyncio.Task[str]]]:
        yield asyncio.current_task(), asyncio.create_task(b())

    @loop_resource
    async def b() -> AsyncIterator[str]:
        told.append(asyncio.get_running_loop().create_future())
        await told[0]
        await a()
        yield "b"

    async def use() -> str:
        host, left = await a()
        while not told:
            await asyncio.sleep(0)
        host.cancel()
        await asyncio.wait([host])
        told[0].set_result(None)
        return await left

    assert manager.run(use(), timeout=20) == "b"


@on_worker
def test_again_without_the_cycle(make_manager: MakeManager) -> None:
    """A cycle leaves nothing behind that the next use trips over."""
    manager = make_manager()
    cyclic = [True]

    @loop_resource
    async def a() -> AsyncIterator[int]:
        yield await b()

    @loop_resource
    async def b() -> AsyncIterator[int]:
        yield await a() if cyclic else 5

    with pytest.raises(RuntimeError, match="wait for each other"):
        manager.run(a(), timeout=20)
    cyclic.clear()
    assert manager.run(a(), timeout=20) == 5


@on_worker
def test_the_same_on_two_loops(make_manager: MakeManager) -> None:
    """What waits on one loop has nothing to do with another loop's instance."""
    one, two = make_manager("one"), make_manager("two")

    @loop_resource
    async def client() -> AsyncIterator[str]:
        if asyncio.get_running_loop() is one.get_event_loop():
            yield "one, beside " + await asyncio.to_thread(client.get, two)
        else:
            yield "two"

    assert one.run(client(), timeout=20) == "one, beside two"
