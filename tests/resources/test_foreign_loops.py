"""Loops that are no manager's: what `asyncio.run()` closes, and what nobody can."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from tests.core.support import in_process, our_log, say
from wsgi_async import loop_resource

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.core.conftest import LoopFactory
    from tests.resources.parts import Diary


@pytest.fixture
def bare(loop_factory: LoopFactory | None) -> Iterator[asyncio.Runner]:
    """Does what `asyncio.run()` does, on either loop."""
    with asyncio.Runner(loop_factory=loop_factory) as one:
        yield one


def test_closed_with_the_loop(bare: asyncio.Runner, diary: Diary) -> None:
    """`asyncio.run()` closes what was opened, each in its task, the one opened last first."""
    pool = diary.resource("pool")
    resources = [diary.resource("a"), diary.resource("b", lambda: pool), diary.resource("c")]

    async def main() -> set[object]:
        for resource in resources:
            await resource()
        return {await resource() for resource in [*resources, pool]}

    instances = bare.run(main())
    bare.close()
    assert diary.lines[:4] == ["open a", "open pool", "open b", "open c"]
    assert diary.lines[4:] == ["close c", "close b", "close pool", "close a"]
    for instance in instances:
        assert getattr(instance, "closed_by") is getattr(instance, "task")  # noqa: B009


def test_one_that_uses_an_earlier_one_to_the_last(bare: asyncio.Runner, diary: Diary) -> None:
    """While a later instance is being closed, the earlier ones are still to be had."""
    pool = diary.resource("pool")

    @loop_resource
    async def user() -> AsyncIterator[None]:
        first = await pool()
        yield
        await asyncio.sleep(0)
        assert await pool() is first
        diary.lines.append("close user")

    bare.run(user())
    bare.close()
    assert diary.lines == ["open pool", "close user", "close pool"]


def test_closing_is_not_cancelled(bare: asyncio.Runner) -> None:
    """The cancelling by which `asyncio.run()` ends is over when an instance is closed."""
    pending: list[int] = []

    @loop_resource
    async def client() -> AsyncIterator[None]:
        yield
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(0))
        task = asyncio.current_task()
        assert task is not None
        pending.append(task.cancelling())

    bare.run(client())
    bare.close()
    assert pending == [0]


def test_one_in_a_hurry(bare: asyncio.Runner, diary: Diary) -> None:
    """An instance that waits for one opened after it, and is canceled again, closes at once."""
    go = asyncio.Event()

    @loop_resource
    async def slow() -> AsyncIterator[asyncio.Task[Any] | None]:
        yield asyncio.current_task()
        await go.wait()
        diary.lines.append("close slow")

    async def main() -> None:
        first, last = (await diary.resource("first")()).task, await slow()
        assert first is not None
        assert last is not None
        last.cancel()
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        assert diary.lines == ["open first"]
        first.cancel()
        await asyncio.wait([first])
        go.set()
        await asyncio.wait([last])

    bare.run(main())
    assert diary.lines == ["open first", "close first", "close slow"]


def swallow() -> None:
    began = asyncio.Event()

    @loop_resource
    async def client() -> AsyncIterator[None]:
        began.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.get_running_loop().create_future()
        yield
        say("closed")

    async def main() -> None:
        opening = asyncio.ensure_future(client())
        await began.wait()
        assert not opening.done()

    asyncio.run(main())


def test_an_opening_that_swallows_its_cancellation() -> None:
    """`asyncio.run()` closes an instance whose opening went on after its cancellation."""
    assert in_process(swallow) == "closed\n"


def test_one_that_fails(
    bare: asyncio.Runner, diary: Diary, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged by name, and the next is closed."""

    @loop_resource
    async def failing() -> AsyncIterator[None]:
        yield
        raise ConnectionError("went away")

    bare.run(diary.resource("first")())
    bare.run(failing())
    bare.close()
    assert diary.lines == ["open first", "close first"]
    [line] = our_log(caplog)
    assert "failing failed to close" in line


def test_a_new_loop(diary: Diary) -> None:
    """Each `asyncio.run()` has its own instance, though its loop may lie where the last one did."""
    client = diary.resource("client")

    async def main() -> int:
        instance = await client()
        assert instance.loop is asyncio.get_running_loop()
        return id(instance.loop)

    addresses = []
    for _ in range(20):
        addresses.append(asyncio.run(main()))
        gc.collect()
    assert len(set(addresses)) < 20  # or this has tested nothing
    assert diary.lines == ["open client", "close client"] * 20


def test_nothing_keeps_a_loop(loop_factory: LoopFactory | None, diary: Diary) -> None:
    """A loop that was closed with its instances open is freed with them."""
    client = diary.resource("client")

    def lose() -> list[weakref.ref[object]]:
        loop = (loop_factory or asyncio.new_event_loop)()
        instance = loop.run_until_complete(client())
        loop.close()
        return [weakref.ref(loop), weakref.ref(instance)]

    logging.getLogger("asyncio").disabled = True  # it says that a task was lost, and rightly so
    try:
        references = lose()
        gc.collect()
    finally:
        logging.getLogger("asyncio").disabled = False
    assert [reference() for reference in references] == [None, None]
    assert diary.lines == ["open client"]


def test_nothing_stays_on_a_loop(bare: asyncio.Runner, diary: Diary) -> None:
    """An instance that was closed is not kept by the loop that goes on."""
    client = diary.resource("client")

    async def close() -> weakref.ref[object]:
        instance = await client()
        assert instance.task is not None
        instance.task.cancel()
        await asyncio.wait([instance.task])
        return weakref.ref(instance)

    reference = bare.run(close())
    gc.collect()
    assert reference() is None


def test_a_loop_without_room(diary: Diary) -> None:
    """A loop of an extension type, which takes no attributes, has instances all the same."""

    class Narrow(asyncio.SelectorEventLoop):
        def __setattr__(self, name: str, value: object) -> None:
            if name.startswith("wsgi_async"):
                raise AttributeError(name)
            super().__setattr__(name, value)

    client = diary.resource("client")
    with asyncio.Runner(loop_factory=Narrow) as bare:
        assert bare.run(client()) is bare.run(client())
    assert diary.lines == ["open client", "close client"]
