"""Libraries that put themselves in the place of `loop.close`: they clean up when a loop ends."""

from __future__ import annotations

import asyncio
import types
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from tests.core.support import LIMIT, Endless, Worker, in_thread, our_log, reached
from tests.edges.parts import await_stopped
from wsgi_async import AsyncioLoopManager, async_to_sync, loop_resource

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.core.conftest import LoopFactory, MakeManager

THREADS = 20


class Layer:
    """Keeps something open on each loop that it is used on, and closes it at the loop's end.

    The Redis layers of Channels do so for one, and what sends events to a collector.
    """

    def __init__(self, replace: Callable[[Layer, asyncio.AbstractEventLoop], None]) -> None:
        self.loops: list[asyncio.AbstractEventLoop] = []
        self.flushed: list[asyncio.AbstractEventLoop] = []
        self.states: list[bool] = []
        self.tasks: list[int] = []
        self._known: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()
        self._replace = replace

    async def send(self) -> None:
        """Open a connection, unless this loop has one."""
        loop = asyncio.get_running_loop()
        if loop not in self._known:
            self._known.add(loop)
            self.loops.append(loop)
            self._replace(self, loop)
        await asyncio.sleep(0)

    async def flush(self) -> None:
        """Close the running loop's connection, which takes a few turns."""
        loop = asyncio.get_running_loop()
        self.tasks.append(len(asyncio.all_tasks()) - 1)
        for _ in range(3):
            await asyncio.sleep(0)
        await asyncio.sleep(0.001)
        self.flushed.append(loop)


def as_channels_does(layer: Layer, loop: asyncio.AbstractEventLoop) -> None:
    original = loop.close

    def wrapper(self: asyncio.AbstractEventLoop) -> None:
        layer.states.append(self.is_closed())
        self.run_until_complete(layer.flush())
        self.close = original  # type: ignore[method-assign]
        self.close()

    loop.close = types.MethodType(wrapper, loop)  # type: ignore[method-assign]


def as_a_collector_does(layer: Layer, loop: asyncio.AbstractEventLoop) -> None:
    original = loop.close

    def patched() -> None:
        layer.states.append(loop.is_closed())
        try:
            loop.run_until_complete(layer.flush())
        finally:
            original()

    loop.close = patched  # type: ignore[method-assign]


def without_the_original(layer: Layer, loop: asyncio.AbstractEventLoop) -> None:
    def forgets() -> None:
        layer.states.append(loop.is_closed())
        loop.run_until_complete(layer.flush())

    loop.close = forgets  # type: ignore[method-assign]


REPLACEMENTS = [as_channels_does, as_a_collector_does, without_the_original]


def a_thread_each(layer: Layer, loop_factory: LoopFactory | None, how: str) -> None:
    """Twenty short threads that send once each, as the threads of a development server do."""

    def work() -> AsyncioLoopManager:
        manager = AsyncioLoopManager(loop_factory=loop_factory)
        manager.start()
        if how == "run":
            manager.run(layer.send())
        else:
            async_to_sync(layer.send)()
        return manager

    managers = [in_thread(work) for _ in range(THREADS)]
    for manager in managers:
        await_stopped(manager)


@pytest.mark.parametrize("how", ["run", "async_to_sync"])
@pytest.mark.parametrize("replace", REPLACEMENTS)
def test_each_short_thread_closes_what_it_opened(
    replace: Any, how: str, loop_factory: LoopFactory | None, caplog: pytest.LogCaptureFixture
) -> None:
    """A connection that is closed in the place of `loop.close` does not outlive its thread."""
    layer = Layer(replace)
    a_thread_each(layer, loop_factory, how)
    assert len(layer.loops) == THREADS
    assert {*map(id, layer.flushed)} == {*map(id, layer.loops)}
    assert layer.states == [False] * THREADS
    assert all(loop.is_closed() for loop in layer.loops)
    assert our_log(caplog) == []


@pytest.mark.parametrize("replace", REPLACEMENTS)
def test_it_is_called_last(replace: Any, make_manager: MakeManager, worker: Worker) -> None:
    """Tasks and resources have ended by then, and may have used the connection until their end."""
    layer, order, endless = Layer(replace), list[str](), Endless()

    @loop_resource
    async def resource() -> AsyncIterator[None]:
        yield
        await layer.send()
        order.append(f"closed before {len(layer.flushed)} flushes")

    manager = worker.call(make_manager)
    worker.call(manager.run, layer.send())
    resource.get(manager)
    manager.submit_task(endless.wait())
    reached(endless.began)
    manager.stop()
    assert order == ["closed before 0 flushes"]
    assert endless.cleaned.is_set()
    assert layer.flushed == layer.loops
    assert layer.tasks == [0]
    assert layer.loops[0].is_closed()


def test_one_that_fails_is_logged(
    make_manager: MakeManager, worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    """A replacement that raises before the loop is closed is named, and the loop is closed."""

    def replace(layer: Layer, loop: asyncio.AbstractEventLoop) -> None:
        def fails() -> None:
            raise LookupError("the layer's")

        loop.close = fails  # type: ignore[method-assign]

    layer, manager = Layer(replace), worker.call(make_manager)
    worker.call(manager.run, layer.send())
    manager.stop()
    assert manager.state == "stopped"
    assert layer.loops[0].is_closed()
    (record,) = [one for one in caplog.records if one.name.split(".")[0] == "wsgi_async"]
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], LookupError)


@pytest.mark.parametrize("before", [0, 1])
def test_one_that_does_not_end_is_bounded(
    before: int, make_manager: MakeManager, worker: Worker
) -> None:
    """A replacement that runs something endless cannot keep the stop for longer than its time."""

    def replace(layer: Layer, loop: asyncio.AbstractEventLoop) -> None:
        original = loop.close

        def hangs() -> None:
            try:
                for _ in range(before):
                    loop.run_until_complete(layer.flush())
                loop.run_until_complete(endless.wait())
            finally:
                original()

        loop.close = hangs  # type: ignore[method-assign]

    endless = Endless()
    layer, manager = Layer(replace), worker.call(make_manager)
    worker.call(manager.run, layer.send())
    stopping = worker.begin(manager.stop, 0.5)
    assert stopping.exception(LIMIT) is None
    await_stopped(manager)
    assert endless.began.is_set()
    assert layer.loops[0].is_closed()


def test_user_code_is_still_refused_to_close(make_manager: MakeManager, worker: Worker) -> None:
    """While the manager runs, `loop.close()` is refused, replaced or not."""
    layer, manager = Layer(as_channels_does), worker.call(make_manager)
    loop = manager.get_event_loop()
    with pytest.raises(RuntimeError):
        loop.close()
    worker.call(manager.run, layer.send())
    with pytest.raises(RuntimeError):
        loop.close()
    assert not loop.is_closed()
    worker.call(manager.run, layer.send())
