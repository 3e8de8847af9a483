"""What makes no resource: the error tells why, and what to write instead."""

from __future__ import annotations

import asyncio
import copy
import inspect
from typing import TYPE_CHECKING, Any

import pytest

from tests.core.support import on_worker, our_log
from wsgi_async import LoopResource, loop_resource

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterator

    from tests.core.conftest import MakeManager


@on_worker
def test_no_yield(make_manager: MakeManager) -> None:
    """A generator that ends before it yields is named."""
    manager = make_manager()

    @loop_resource
    async def nothing() -> AsyncIterator[int]:
        for never in range(0):
            yield never

    with pytest.raises(RuntimeError, match=r"nothing ended without a yield"):
        manager.run(nothing())


@on_worker
def test_used_as_what_it_opens(make_manager: MakeManager) -> None:
    """Whoever takes the resource for the opened object is told how to get that."""
    manager = make_manager()

    @loop_resource
    async def http() -> AsyncIterator[str]:
        yield "opened"

    wrong: Any = http
    with pytest.raises(AttributeError, match=r"no attribute 'headers'\. Get what it opens"):
        _ = wrong.headers
    assert not hasattr(copy.copy(wrong), "headers")
    assert copy.copy(wrong).get(manager) == "opened"


@on_worker
def test_two_yields(make_manager: MakeManager, caplog: pytest.LogCaptureFixture) -> None:
    """A generator that yields again when it is closed is named in the log, and closed."""
    manager = make_manager()
    ended: list[bool] = []

    @loop_resource
    async def twice() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            ended.append(True)

    assert manager.run(twice()) == 1
    manager.stop()
    assert ended == [True]
    assert "twice failed to close" in our_log(caplog)[0]
    assert "twice yielded twice" in caplog.text


@on_worker
def test_two_yields_without_aclose(
    make_manager: MakeManager, caplog: pytest.LogCaptureFixture
) -> None:
    """The log also names an iterator that is not a generator and cannot be closed."""

    class Twice:
        def __aiter__(self) -> Twice:
            return self

        async def __anext__(self) -> int:
            return 1

    manager = make_manager()
    resource: LoopResource[int] = loop_resource(Twice)
    assert manager.run(resource()) == 1
    manager.stop()
    assert "Twice failed to close" in our_log(caplog)[0]
    assert "Twice yielded twice" in caplog.text


async def coroutine() -> int:
    return 1


def hidden_coroutine() -> Coroutine[Any, Any, int]:
    return coroutine()


class NeverLeft:
    async def __aenter__(self) -> int:
        return 1


def generator() -> Iterator[int]:
    yield 1


@pytest.mark.parametrize("factory", [coroutine, generator, "text", None, 5])
def test_known_at_once(factory: Any) -> None:
    """What can never be opened is refused where it is declared."""
    with pytest.raises(TypeError, match="async generator function"):
        loop_resource(factory)


@on_worker
@pytest.mark.parametrize("made", [lambda: 5, hidden_coroutine, NeverLeft])
def test_known_later(make_manager: MakeManager, made: Any) -> None:
    """A factory that returns something else is named at its first use."""
    manager = make_manager()
    resource: LoopResource[Any] = loop_resource(made)
    with pytest.raises(TypeError, match="cannot be opened"):
        manager.run(resource())


def test_outside_a_loop() -> None:
    """Stepped without a loop, the coroutine says that there is none."""

    @loop_resource
    async def client() -> AsyncIterator[int]:
        yield 1

    with pytest.raises(RuntimeError, match="no running event loop"):
        client().send(None)


def test_it_is_documented() -> None:
    """`help()` and logs show the function that was decorated, and no class's own attributes."""

    @loop_resource
    async def client() -> AsyncIterator[int]:
        """The client."""
        yield 1

    assert inspect.getdoc(client) == "The client."
    assert "client" in repr(client)
    assert client.name.endswith("client")
    assert loop_resource(asyncio.TaskGroup).name == "TaskGroup"
    assert "create_task" not in vars(loop_resource(asyncio.TaskGroup))
