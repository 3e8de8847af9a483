"""Errors about another event loop carry a note that says what is behind them."""

from __future__ import annotations

import asyncio
import traceback
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from tests.core.support import Worker, in_thread, on_worker
from wsgi_async import AsyncioLoopManager, async_to_sync, async_to_sync_future, loop_resource, run
from wsgi_async.core.messages.foreign_loops import NOTE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from tests.core.conftest import LoopFactory, MakeManager


def notes(call: Callable[[], object]) -> list[str]:
    """The notes on the error that a call raises."""
    try:
        call()
    except Exception as error:
        return getattr(error, "__notes__", [])
    raise AssertionError("it was not refused")


# -- objects that belong to another loop -----------------------------------------------------------


@pytest.fixture
def foreign() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop that is not the manager's, and at rest."""
    loop = asyncio.SelectorEventLoop()
    yield loop
    loop.close()


class Foreign:
    """What a client at module level has, made on another loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.lock = asyncio.Lock()

        async def use() -> None:
            async with self.lock:
                waiting = asyncio.create_task(self.bound())
                await asyncio.sleep(0)
            await waiting

        loop.run_until_complete(use())
        self._loop = loop
        self._closed = asyncio.SelectorEventLoop()
        self._closed.close()

    async def bound(self) -> None:
        """Take the lock where it has to be waited for: it knows its loop from then on."""
        async with self.lock:
            pass

    async def locked(self) -> None:
        """asyncio's locks refuse another loop."""
        await self.lock.acquire()
        await self.bound()

    async def awaited(self) -> None:
        """A task refuses another loop's future."""
        await self._loop.create_future()

    async def gathered(self) -> None:
        """So does `gather()`, with a ValueError."""
        mine = asyncio.get_running_loop().create_future()
        try:
            await asyncio.gather(mine, self._loop.create_future())
        finally:
            mine.cancel()

    async def closed(self) -> None:
        """A loop that is closed takes nothing."""
        self._closed.call_soon(print)


WAYS = [Foreign.locked, Foreign.awaited, Foreign.gathered, Foreign.closed]


@pytest.mark.parametrize("way", WAYS)
@on_worker
def test_whatever_leaves_run(
    make_manager: MakeManager, foreign: asyncio.AbstractEventLoop, way: Callable[..., Any]
) -> None:
    """`run()`, a future, a wrapped future and `async_to_sync` give the error with the note."""
    manager, client = make_manager(), Foreign(foreign)
    assert notes(lambda: manager.run(way(client))) == [NOTE]
    client = Foreign(foreign)
    assert notes(lambda: manager.submit_task(way(client)).result()) == [NOTE]
    client = Foreign(foreign)
    assert notes(lambda: run(way(client))) == [NOTE]
    client = Foreign(foreign)
    assert notes(async_to_sync(partial(way, client))) == [NOTE]


@on_worker
def test_streams_and_context_managers(
    make_manager: MakeManager, foreign: asyncio.AbstractEventLoop
) -> None:
    """`iterate()`, with and without `prefetch`, and a context manager give the note too."""
    manager, client = make_manager(), Foreign(foreign)

    async def items() -> AsyncIterator[int]:
        yield 1
        await client.awaited()

    class Session:
        async def __aenter__(self) -> None:
            await client.awaited()

        async def __aexit__(self, *_: object) -> None:
            """Nothing."""

    assert notes(lambda: list(manager.iterate(items()))) == [NOTE]
    assert notes(lambda: list(manager.iterate(items(), prefetch=2))) == [NOTE]
    assert notes(manager.wrap_async_context_manager(Session()).__enter__) == [NOTE]


@on_worker
def test_resources(make_manager: MakeManager, foreign: asyncio.AbstractEventLoop) -> None:
    """A resource that fails to open gives it, in sync code and in a coroutine."""
    manager, client = make_manager(), Foreign(foreign)

    @loop_resource
    async def session() -> AsyncIterator[None]:
        await client.awaited()
        yield

    async def use() -> None:
        await session()

    assert notes(lambda: session.get(manager)) == [NOTE]
    assert notes(lambda: manager.run(use())) == [NOTE]


@on_worker
def test_futures_of_others(make_manager: MakeManager, foreign: asyncio.AbstractEventLoop) -> None:
    """A task that was made past the manager gives it by way of `async_to_sync_future()`."""
    manager, client = make_manager(), Foreign(foreign)

    async def spawn() -> Any:
        return async_to_sync_future(asyncio.ensure_future(client.awaited()))

    assert notes(manager.run(spawn()).result) == [NOTE]


# -- errors around it ------------------------------------------------------------------------------


class ConnectionFailed(Exception):
    """What an SDK raises in the place of the error."""


@on_worker
def test_an_error_that_an_sdk_raises_from_it(
    make_manager: MakeManager, foreign: asyncio.AbstractEventLoop
) -> None:
    """The SDK's own error has the note, from which nobody could guess the cause."""
    manager, client = make_manager(), Foreign(foreign)

    async def cause() -> NoReturn:
        try:
            await client.awaited()
        except RuntimeError as error:
            raise ConnectionFailed("Connection error.") from error
        raise AssertionError

    async def in_group() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(client.awaited())

    assert notes(lambda: manager.run(cause())) == [NOTE]
    assert notes(lambda: manager.run(in_group())) == [NOTE]


@on_worker
def test_one_note_is_enough(make_manager: MakeManager, foreign: asyncio.AbstractEventLoop) -> None:
    """An error that passes by several calls has it once."""
    manager, client = make_manager(), Foreign(foreign)
    kept: list[BaseException] = []

    async def first() -> None:
        try:
            await client.awaited()
        except RuntimeError as error:
            kept.append(error)
            raise

    async def again() -> None:
        raise ConnectionFailed from kept[0]

    assert notes(lambda: manager.run(first())) == [NOTE]
    assert notes(lambda: manager.run(again())) == []
    text = "".join(traceback.format_exception(kept[0]))
    assert text.count(NOTE) == 1


class Silent(RuntimeError):
    """An error that can be neither read nor changed."""

    def __str__(self) -> str:
        raise LookupError

    def __setattr__(self, name: str, value: object) -> None:
        raise LookupError


@pytest.mark.parametrize(
    "error", [LookupError("different loop"), RuntimeError("theirs"), Silent(), SystemExit(3)]
)
@on_worker
def test_other_errors_stay_as_they_are(make_manager: MakeManager, error: BaseException) -> None:
    """What is not about loops gets no note."""
    manager = make_manager()

    async def fail() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        manager.run(fail())
    assert caught.value is error
    assert not hasattr(error, "__notes__")


@on_worker
def test_a_refused_close_is_not_about_another_loop(make_manager: MakeManager) -> None:
    """The error of `loop.close()` says what to use instead, and no word about clients."""
    manager = make_manager()

    async def close() -> None:
        asyncio.get_running_loop().close()

    assert notes(lambda: manager.run(close())) == []


def test_the_page_exists(checkout: Path) -> None:
    """The page that the note names is in the documentation, by this title."""
    page = checkout / "docs" / "global_clients.md"
    title = page.read_text().splitlines()[0].lstrip("# ")
    assert f'"{title}"' in NOTE


async def call(fn: Callable[..., Any], *args: Any) -> None:
    fn(*args)


# -- debug mode ------------------------------------------------------------------------------------


@on_worker
def test_debug_mode_names_both_threads(loop_factory: LoopFactory | None) -> None:
    """asyncio's refusal of another thread's call says whose thread called whose loop."""

    def start(name: str) -> AsyncioLoopManager:
        manager = AsyncioLoopManager(name, debug=True, loop_factory=loop_factory)
        manager.start()
        return manager

    with Worker() as one, Worker() as two:
        first, second = one.call(start, "first"), two.call(start, "second")
        future: asyncio.Future[int] = first.get_event_loop().create_future()
        future.add_done_callback(print)

        async def fill() -> None:
            future.set_result(1)  # what a shared client does to another loop's task

        threads, cause = notes(lambda: second.run(fill()))
        assert "id='second'" in threads.partition("The loop that was called")[0]
        assert "id='first'" in threads.partition("The loop that was called")[2]
        assert cause == NOTE
        loop = first.get_event_loop()
        threads, _ = notes(lambda: second.run(call(loop.call_later, 1, print)))
        assert "the event loop of AsyncioLoopManager id='second'" in threads
        if loop.is_running():  # else it may be called from outside
            threads, _ = notes(lambda: second.run(call(in_thread, loop.call_later, 1, print)))
            assert "the thread 'in_thread'. The loop that was called is" in threads
            assert "id='first' of thread 'worker', which runs on the thread" in threads
        for manager in (first, second):
            manager.stop()
