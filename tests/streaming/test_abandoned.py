"""Streams and context managers that are left before their loop comes to end them."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import signal
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from tests.core.support import LIMIT, in_process, reached, wait_until
from wsgi_async import AsyncioLoopManager, CallerNotFound, run_in_calling_thread
from wsgi_async.core.base.deadlines import Deadline, request_deadline

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


# -- while the loop is busy ----------------------------------------------------------------------


class Connection:
    """Something that is open for a while."""

    def __init__(self) -> None:
        self.closed = threading.Event()

    @asynccontextmanager
    async def entered(self) -> AsyncIterator[None]:
        try:
            yield
        finally:
            self.closed.set()

    async def items(self) -> AsyncIterator[int]:
        try:
            while True:
                yield 1
        finally:
            self.closed.set()


def occupy(manager: AsyncioLoopManager, go_on: threading.Event) -> None:
    """Block the loop until then."""
    begun = threading.Event()

    async def block() -> None:
        begun.set()
        go_on.wait(LIMIT)

    manager.submit_task(block())
    reached(begun)


def leave_at_a_deadline(manager: AsyncioLoopManager, connection: Connection) -> threading.Event:
    go_on = threading.Event()

    def use() -> None:
        with manager.wrap_async_context_manager(connection.entered()):
            occupy(manager, go_on)
            request_deadline.set(Deadline(0.05))

    with pytest.raises(TimeoutError):
        contextvars.copy_context().run(use)
    return go_on


def close_in_the_grace(manager: AsyncioLoopManager, connection: Connection) -> threading.Event:
    go_on = threading.Event()
    with manager.iterate(connection.items()) as items:
        next(items)
        occupy(manager, go_on)
    return go_on


@pytest.mark.parametrize("use", [leave_at_a_deadline, close_in_the_grace])
def test_what_a_busy_loop_did_not_end_in_time_it_ends_later(
    use: Callable[[AsyncioLoopManager, Connection], threading.Event],
) -> None:
    """The calling thread goes on, and nothing stays open until the manager is stopped."""
    connection = Connection()
    with AsyncioLoopManager(grace=0.05) as manager:
        use(manager, connection).set()
        reached(connection.closed)
        manager.run(asyncio.sleep(0))
        assert manager.run(no_others())


async def no_others() -> bool:
    """Whether this is the loop's only task."""
    return asyncio.all_tasks() == {asyncio.current_task()}


def child_interrupted(what: str) -> None:
    """A signal's exception comes while the loop is busy and the thread waits for the end."""

    class Interrupt(Exception):
        pass

    def handle(*_: object) -> None:
        raise Interrupt

    def use() -> None:
        if what == "stream":
            with manager.iterate(connection.items()) as items:
                next(items)
                occupy(manager, go_on)
                signal.setitimer(signal.ITIMER_REAL, 0.05)
        else:
            with manager.wrap_async_context_manager(connection.entered()):
                occupy(manager, go_on)
                signal.setitimer(signal.ITIMER_REAL, 0.05)

    signal.signal(signal.SIGALRM, handle)
    connection, go_on = Connection(), threading.Event()
    with AsyncioLoopManager(grace=0.05) as manager:
        with pytest.raises(Interrupt):
            use()
        go_on.set()
        reached(connection.closed)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs POSIX signals")
@pytest.mark.parametrize("what", ["stream", "context manager"])
def test_what_a_signal_interrupts_is_ended_later(what: str) -> None:
    """A `close()` or an exit that is interrupted on a busy loop is not forgotten."""
    in_process(child_interrupted, what)


# -- what is abandoned ---------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("prefetch", [0, 2])
def test_an_abandoned_stream_has_no_thread_to_ask(prefetch: int) -> None:
    """Its `finally` is told so, and comes to its end."""
    events: list[str] = []
    closed = threading.Event()

    async def items() -> AsyncIterator[int]:
        try:
            for number in range(9):
                yield number
        finally:
            try:
                await run_in_calling_thread(events.append, "called")
            except CallerNotFound:
                events.append("nobody")
            closed.set()

    with AsyncioLoopManager() as manager:
        iterator = manager.iterate(items(), prefetch=prefetch)
        next(iterator)
        del iterator
        gc.collect()
        reached(closed)
    assert events == ["nobody"]


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_what_an_abandoned_exit_raises_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody is there to get it, so it must not be lost."""

    @asynccontextmanager
    async def transaction() -> AsyncIterator[None]:
        try:
            yield
        finally:
            raise ValueError("the rollback failed")

    with AsyncioLoopManager() as manager:
        entered = manager.wrap_async_context_manager(transaction())
        entered.__enter__()
        del entered
        gc.collect()
        wait_until(lambda: "the rollback failed" in caplog.text, what="the error is logged")
    assert "transaction" in caplog.text


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_what_an_abandoned_stream_has_asked_for_is_lost() -> None:
    """A function that was to run in the thread of the next item: there is none."""
    asked, closed = threading.Event(), threading.Event()
    events: list[str] = []

    async def items() -> AsyncIterator[int]:
        yield 1
        task = asyncio.ensure_future(run_in_calling_thread(int))
        asyncio.get_running_loop().call_soon(asked.set)
        try:
            await asyncio.shield(task)
        finally:
            try:
                await task
            except CallerNotFound:
                events.append("nobody")
            closed.set()

    with AsyncioLoopManager() as manager:
        iterator = manager.iterate(items(), prefetch=2)
        next(iterator)
        reached(asked)
        del iterator
        gc.collect()
        reached(closed)
    assert events == ["nobody"]
