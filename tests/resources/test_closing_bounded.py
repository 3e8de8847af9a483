"""Resources that do not end: a stop returns in time, and names them."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING

from tests.core.support import Endless, Stubborn, on_worker, our_log, reached
from tests.resources.parts import Unclosable
from wsgi_async import loop_resource

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest

    from tests.core.conftest import MakeManager
    from tests.resources.parts import Diary
    from wsgi_async import AsyncioLoopManager

SLACK = 5.0
"""Seconds more than its timeout that a `stop()` may take on a busy machine."""


def stopped_in(manager: AsyncioLoopManager, timeout: float) -> None:
    begun = time.monotonic()
    manager.stop(timeout)
    assert time.monotonic() - begun < timeout + SLACK


@on_worker
def test_one_that_hangs(
    make_manager: MakeManager, diary: Diary, caplog: pytest.LogCaptureFixture
) -> None:
    """It is named, and cancelled at last; the next is closed all the same."""
    manager = make_manager()
    hanging = Unclosable()
    manager.run(diary.resource("first")())
    manager.run(hanging.resource()())
    manager.run(diary.resource("last")())
    stopped_in(manager, 0.4)
    assert diary.lines[2:] == ["close last", "close first"]
    assert hanging.cancelled.is_set()
    [line] = our_log(caplog)
    assert "unclosable did not end in time" in line


@on_worker
def test_several_that_hang(
    make_manager: MakeManager, diary: Diary, caplog: pytest.LogCaptureFixture
) -> None:
    """Each has a part of the time, and leaves some to the one opened first."""
    manager = make_manager()
    manager.run(diary.resource("first")())
    hanging = [Unclosable() for _ in range(4)]
    for one in hanging:
        manager.run(one.resource()())
    stopped_in(manager, 0.6)
    assert all(one.reached.is_set() for one in hanging)
    assert diary.lines == ["open first", "close first"]
    assert len(our_log(caplog)) == 4


@on_worker
def test_one_that_resists(
    make_manager: MakeManager, diary: Diary, caplog: pytest.LogCaptureFixture
) -> None:
    """One that hangs even when it is cancelled is named, once, and left behind."""
    manager = make_manager()
    hanging = Unclosable(resists=1)
    manager.run(diary.resource("first")())
    resource = hanging.resource()
    manager.run(resource())
    stopped_in(manager, 0.3)
    assert diary.lines == ["open first", "close first"]
    assert sum("unclosable" in line for line in our_log(caplog)) == 1


@on_worker
def test_an_opening_that_resists(
    make_manager: MakeManager, diary: Diary, caplog: pytest.LogCaptureFixture
) -> None:
    """So is one that does not let its opening be cancelled."""
    manager = make_manager()
    stubborn = Stubborn()

    @loop_resource
    async def opening() -> AsyncIterator[str]:
        yield await stubborn.wait()

    manager.run(diary.resource("first")())
    future = manager.submit_task(opening())
    reached(stubborn.began)
    stopped_in(manager, 0.3)
    assert isinstance(future.exception(0), RuntimeError)
    assert diary.lines == ["open first", "close first"]
    [line] = [line for line in our_log(caplog) if "loop resource" in line]
    assert "opening did not end in time" in line


@on_worker
def test_an_opening_beside_one_that_resists(
    make_manager: MakeManager, caplog: pytest.LogCaptureFixture
) -> None:
    """Of several that are still opening, only the one that resists is named."""
    manager = make_manager()
    stubborn, endless = Stubborn(), Endless()

    @loop_resource
    async def resisting() -> AsyncIterator[str]:
        yield await stubborn.wait()

    @loop_resource
    async def docile() -> AsyncIterator[None]:
        await endless.wait()
        yield

    manager.submit_task(docile())
    manager.submit_task(resisting())
    reached(endless.began)
    reached(stubborn.began)
    stopped_in(manager, 0.3)
    lines = [line for line in our_log(caplog) if "loop resource" in line]
    assert ["resisting" in line for line in lines] == [True]
    assert endless.cleaned.is_set()


@on_worker
def test_an_opening_that_ends_too_late(make_manager: MakeManager) -> None:
    """One that was given up on, and opens after that, is closed at once."""
    manager = make_manager()
    stubborn, lines = Stubborn(), []

    @loop_resource
    async def opening() -> AsyncIterator[str]:
        yield await stubborn.wait()
        lines.append("closed")

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            stubborn.release()
            while not lines:
                await asyncio.sleep(0)

    generator = numbers()

    async def first() -> int:
        return await anext(generator)

    manager.run(first())
    manager.submit_task(opening())
    reached(stubborn.began)
    stopped_in(manager, 0.4)
    assert lines == ["closed"]


@on_worker
def test_a_task_that_resists(make_manager: MakeManager, diary: Diary) -> None:
    """Tasks have half of the time at most: resources and executor still get their share."""
    manager = make_manager()
    stubborn = Stubborn()
    manager.run(diary.resource("client")())
    thread = manager.run(asyncio.to_thread(threading.current_thread))
    manager.submit_task(stubborn.wait())
    reached(stubborn.began)
    stopped_in(manager, 0.5)
    assert diary.lines == ["open client", "close client"]
    assert not thread.is_alive()


@on_worker
def test_a_task_of_its_own_that_resists(
    make_manager: MakeManager, caplog: pytest.LogCaptureFixture
) -> None:
    """What a resource has started, and does not end, is named."""
    manager = make_manager()
    stubborn = Stubborn()

    @loop_resource
    async def careless() -> AsyncIterator[asyncio.Task[str]]:
        yield asyncio.create_task(stubborn.wait())

    manager.run(careless())
    reached(stubborn.began)
    stopped_in(manager, 0.3)
    [line] = our_log(caplog)
    assert "Stubborn.wait" in line
