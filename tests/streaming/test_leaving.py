"""Streams that end because the process is about to end."""

from __future__ import annotations

import _thread
import asyncio
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.core.support import LIMIT, Worker, in_process, outcome, wait_until
from wsgi_async import AsyncioLoopManager
from wsgi_async.core.actors.leaving import (
    allow_streams,
    end_streams,
    open_streams,
    time_to_end_of_all,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@pytest.fixture(autouse=True)
def _this_process_goes_on() -> Iterator[None]:
    yield
    open_streams.reset()


@pytest.fixture
def manager() -> Iterator[AsyncioLoopManager]:
    with AsyncioLoopManager() as manager:
        yield manager


class Source:
    """An async generator without an end, which tells of its own."""

    def __init__(self, every: float | None = None) -> None:
        self._every = every
        self.closed = threading.Event()

    async def items(self) -> AsyncIterator[int]:
        try:
            yield 0
            while True:
                if self._every is None:
                    await asyncio.Event().wait()
                else:
                    await asyncio.sleep(self._every)
                yield 1
        finally:
            await asyncio.sleep(0)
            self.closed.set()


@pytest.mark.parametrize("prefetch", [0, 3])
@pytest.mark.parametrize("every", [None, 0.001])
def test_a_stream_ends_as_if_it_had_no_more_items(
    manager: AsyncioLoopManager, every: float | None, prefetch: int
) -> None:
    """Whoever iterates it gets no exception, and its cleanup has run before the loop goes on."""
    source, worker = Source(every), Worker()
    items = manager.iterate(source.items(), prefetch=prefetch)
    assert next(items) == 0
    rest = worker.begin(lambda: set(items))
    end_streams(0.05)
    assert outcome(rest) <= {1}
    assert source.closed.is_set()
    worker.end()


def test_a_stream_between_two_items_ends_at_the_next_one(manager: AsyncioLoopManager) -> None:
    """Its consumer may be busy sending; its cleanup does not wait for that."""
    source = Source()
    items = manager.iterate(source.items())
    assert next(items) == 0
    end_streams()
    assert source.closed.wait(LIMIT)
    assert list(items) == []


@pytest.mark.parametrize("prefetch", [0, 3])
@pytest.mark.parametrize("every", [None, 0.001])
def test_an_endless_stream_that_begins_after_the_end_has_a_second(
    manager: AsyncioLoopManager, every: float | None, prefetch: int
) -> None:
    """A request that still comes does not keep the process."""
    end_streams()
    wait_until(time_to_end_of_all, what="the time to end")
    source = Source(every)
    began = time.monotonic()
    with Worker() as worker:
        stream = manager.iterate(source.items(), prefetch=prefetch)
        assert worker.begin(lambda: list(stream)).result(LIMIT)[0] == 0
    assert 0.9 < time.monotonic() - began < LIMIT
    assert source.closed.is_set()


def test_a_finite_stream_that_begins_after_the_end_is_whole(manager: AsyncioLoopManager) -> None:
    """The answer of a slow view in a worker that stops is not an empty one that looks complete."""

    async def rows() -> AsyncIterator[int]:
        for number in range(3):
            await asyncio.sleep(0)
            yield number

    end_streams()
    wait_until(time_to_end_of_all, what="the time to end")
    assert list(manager.iterate(rows())) == [0, 1, 2]


def test_streams_are_whole_again_when_they_are_allowed(manager: AsyncioLoopManager) -> None:
    """After one of a process's servers has stopped, streams have all the time that they need."""
    end_streams()
    allow_streams()
    items = manager.iterate(Source(0.001).items())
    assert [next(items) for _ in range(3)] == [0, 1, 1]
    assert not time_to_end_of_all()
    items.close()


def test_a_late_stream_goes_on_when_streams_are_allowed(manager: AsyncioLoopManager) -> None:
    """Its second does not count any more."""
    end_streams()
    wait_until(time_to_end_of_all, what="the time to end")
    items = manager.iterate(Source(0.001).items())
    assert next(items) == 0
    allow_streams()
    manager.run(asyncio.sleep(1.1))  # its timer is on this loop, and comes before this ends
    assert next(items) == 1
    items.close()


def test_a_second_call_makes_it_sooner_and_never_later(manager: AsyncioLoopManager) -> None:
    """A SIGTERM that comes again does not give more time; a SIGQUIT leaves none."""
    source = Source()
    items = manager.iterate(source.items())
    assert next(items) == 0
    end_streams(2 * LIMIT)
    end_streams(3 * LIMIT)
    assert open_streams.leave_at is not None
    assert open_streams.leave_at < time.monotonic() + 2 * LIMIT
    end_streams(0.0)
    assert list(items) == []


def test_an_end_that_was_taken_back_ends_no_later_stream(
    manager: AsyncioLoopManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that ends the streams may come late; those of a new start are not its own."""
    begun: list[Any] = []
    with monkeypatch.context() as patch:
        patch.setattr(_thread, "start_new_thread", lambda *call: begun.append(call))
        end_streams()
    open_streams.reset()
    items = manager.iterate(Source(0.001).items())
    assert next(items) == 0
    ((cut, arguments),) = begun
    cut(*arguments)
    assert next(items) == 1
    items.close()


def test_without_another_thread_streams_end_at_once(
    manager: AsyncioLoopManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that has no room for one can still be ended in order."""

    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    source = Source()
    items = manager.iterate(source.items())
    assert next(items) == 0
    with monkeypatch.context() as patch:
        patch.setattr(_thread, "start_new_thread", refuse)
        end_streams(LIMIT)
    assert list(items) == []


def child_signal_in_the_middle_of_a_start() -> None:
    signal.signal(signal.SIGUSR1, lambda *_: end_streams())
    with AsyncioLoopManager() as manager:
        items = manager.iterate(Source().items())
        assert next(items) == 0
        with threading._active_limbo_lock:  # type: ignore[attr-defined]
            signal.raise_signal(signal.SIGUSR1)
        assert list(items) == []


def test_a_signal_handler_may_call_it_while_a_lock_of_threading_is_held() -> None:
    """The signal may come in the middle of a `Thread.start()`, for which nobody can wait then."""
    in_process(child_signal_in_the_middle_of_a_start)


def test_a_stream_that_has_not_begun_needs_no_end(
    manager: AsyncioLoopManager, caplog: pytest.LogCaptureFixture
) -> None:
    """It has nothing to clean up; its first item is the end."""
    source = Source()
    items = manager.iterate(source.items())
    end_streams()
    wait_until(time_to_end_of_all, what="the time to end")
    manager.run(asyncio.sleep(0.01))
    assert list(items) == []
    assert [each for each in caplog.records if each.levelname == "ERROR"] == []
