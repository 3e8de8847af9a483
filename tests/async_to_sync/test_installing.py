"""`install()`: asgiref's own objects on the thread's loop, for the whole process."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import asgiref.sync
import pytest

from tests.async_to_sync.parts import called_on, ident, own_loop
from tests.core.support import LIMIT, Worker, throw
from wsgi_async import async_to_sync
from wsgi_async.integrations import asgiref as integration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


made_before = asgiref.sync.async_to_sync(own_loop)


class Before:
    """Has a method that was decorated before."""

    @asgiref.sync.async_to_sync
    async def loop(self) -> asyncio.AbstractEventLoop:
        return await own_loop()


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    assert not integration.installed()
    yield
    integration.uninstall()


def test_objects_made_before(worker: Worker) -> None:
    """What libraries have made before the installation is on the thread's loop as well."""
    loop = worker.call(async_to_sync(own_loop))
    assert worker.call(made_before) is not loop
    integration.install()
    assert integration.installed()
    assert worker.call(made_before) is loop
    assert worker.call(Before().loop) is loop
    assert worker.call(asgiref.sync.async_to_sync(own_loop)) is loop
    assert worker.call(asgiref.sync.async_to_sync(called_on)) == worker.thread.ident


def test_uninstall(worker: Worker) -> None:
    """And after `uninstall()` asgiref's is its own again; either may be called twice."""
    integration.install()
    integration.install()
    made_within = asgiref.sync.async_to_sync(own_loop)
    loop = worker.call(made_within)
    integration.uninstall()
    assert not integration.installed()
    integration.uninstall()
    assert worker.call(made_within) is not loop
    assert worker.call(made_within).is_closed()
    assert worker.call(async_to_sync(own_loop)) is loop


def test_a_method_that_others_have_replaced(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was there before comes back, what has come since stays, and ours is off below it."""

    def traced(below: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            calls.append(below)
            return below(*args)

        return call

    calls: list[Any] = []
    kind: Any = asgiref.sync.AsyncToSync
    own = kind.__call__
    loop = worker.call(async_to_sync(own_loop))
    before = traced(own)
    monkeypatch.setattr(kind, "__call__", before)
    integration.install()
    since = traced(kind.__call__)
    monkeypatch.setattr(kind, "__call__", since)
    assert worker.call(made_before) is loop
    integration.uninstall()
    assert not integration.installed()
    assert kind.__call__ is since
    calls.clear()
    assert worker.call(made_before) is not loop
    assert calls[1:] == [own]  # through ours and what was there before it
    integration.install()
    assert worker.call(made_before) is loop
    integration.uninstall()
    assert kind.__call__ is since
    assert worker.call(made_before) is not loop


def test_a_method_that_was_given_back_by_hand(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever has happened to the method, `install()` puts ours there."""
    own = asgiref.sync.AsyncToSync.__call__
    loop = worker.call(async_to_sync(own_loop))
    integration.install()
    monkeypatch.setattr(asgiref.sync.AsyncToSync, "__call__", own)
    assert not integration.installed()
    integration.install()
    assert integration.installed()
    assert worker.call(made_before) is loop


def test_back_to_somebody_elses_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Below a method that others have put over ours, too, sync code returns to its own loop."""
    integration.install()
    ours = asgiref.sync.AsyncToSync.__call__

    def traced(*args: Any) -> Any:
        return ours(*args)

    async def main() -> bool:
        back = asgiref.sync.sync_to_async(asgiref.sync.async_to_sync(own_loop))
        return await back() is asyncio.get_running_loop()

    monkeypatch.setattr(asgiref.sync.AsyncToSync, "__call__", traced)
    assert asyncio.run(main())


def test_force_new_loop(worker: Worker) -> None:
    """asgiref's `force_new_loop` still means a loop of its own."""
    integration.install()
    fresh = asgiref.sync.async_to_sync(own_loop, force_new_loop=True)
    loop = worker.call(fresh)
    assert loop.is_closed()
    assert loop is not worker.call(made_before)


def test_errors(worker: Worker) -> None:
    """Errors come out as they are, and a running loop is refused."""
    integration.install()
    error = KeyError()
    with pytest.raises(KeyError) as raised:
        worker.call(asgiref.sync.async_to_sync(throw), error)
    assert raised.value is error

    async def wrong() -> None:
        made_before()

    with pytest.raises(RuntimeError, match="runs an event loop"):
        worker.call(async_to_sync(wrong))


def test_foreign_loop() -> None:
    """Sync code of an ASGI server's coroutine still goes back to the server's loop."""
    integration.install()

    async def server() -> bool:
        return await asgiref.sync.sync_to_async(made_before)() is asyncio.get_running_loop()

    assert asyncio.run(server())


def test_while_threads_call() -> None:
    """Calls of other threads are answered while it is installed and uninstalled."""
    rounds = 30
    start, done = threading.Barrier(3), threading.Event()
    sync = asgiref.sync.async_to_sync(called_on)

    def call() -> int:
        start.wait(LIMIT)
        calls = 0
        while not done.is_set():
            assert sync() == ident()
            calls += 1
        return calls

    def first_of_a_thread() -> None:
        with Worker() as third:
            third.call(made_before)

    with Worker() as first, Worker() as second:
        futures = [first.begin(call), second.begin(call)]
        start.wait(LIMIT)
        for _ in range(rounds):
            integration.install()
            first_of_a_thread()
            integration.uninstall()
        done.set()
        assert all(future.result(LIMIT) for future in futures)


def test_original_outside(worker: Worker) -> None:
    """Inside of asgiref's own, not replaced, ours goes back to its loop, and nothing hangs."""

    async def outer() -> bool:
        loop = asyncio.get_running_loop()
        found = await asgiref.sync.sync_to_async(async_to_sync(own_loop))()
        caller = await asgiref.sync.sync_to_async(async_to_sync(called_on))()
        return found is loop and caller == worker.thread.ident

    assert worker.call(asgiref.sync.async_to_sync(outer))
    assert worker.call(async_to_sync(called_on)) == worker.thread.ident
