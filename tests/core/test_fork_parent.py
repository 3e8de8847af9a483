"""Forks: the parent's managers work on, whatever the child does and however it ends."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import os
import selectors
import socket
import threading
import warnings
from typing import TYPE_CHECKING, Any

import pytest

from tests.core.forking import EXITS, in_child, started
from tests.core.support import (
    LIMIT,
    Endless,
    Worker,
    give,
    in_process,
    reached,
    say,
    wait_until,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsgi_async import AsyncioLoopManager

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


@pytest.fixture(params=["asyncio", "uvloop"])
def loop(request: pytest.FixtureRequest) -> str:
    if request.param == "uvloop":
        pytest.importorskip("uvloop", reason="uvloop is not installed")
    name: str = request.param
    return name


class Echo:
    """An echo server on a manager's loop, and a plain socket that is connected to it."""

    def __init__(self, manager: AsyncioLoopManager) -> None:
        self._manager = manager
        self._server = manager.run(self._serve())
        self.port = self._server.sockets[0].getsockname()[1]
        self._client = self.connect()

    async def _serve(self) -> Any:
        # By socket: a look-up of the host would start libuv's thread pool in the parent, and its
        # destructor crashes every forked child that exits in the ordinary way (uvloop alone, too).
        return await asyncio.start_server(self._echo, sock=socket.create_server(("127.0.0.1", 0)))

    async def _echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            while line := await reader.readline():
                writer.write(line)
        writer.close()

    def connect(self) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self.port), LIMIT)
        self.ask(client)
        return client

    def ask(self, client: socket.socket | None = None) -> None:
        """Have a line echoed; on the first connection, which the loop has had all the time."""
        client = client or self._client
        client.sendall(b"hello\n")
        assert client.recv(100) == b"hello\n"

    def close(self) -> None:
        self._client.close()
        self._manager.get_event_loop().call_soon_threadsafe(self._server.close)


held: dict[str, Any] = {}
"""What a child can let go of; no frame holds it besides."""


def prepare(loop: str, busy: bool) -> None:
    worker = Worker()
    held["managers"] = [started("main", loop), worker.call(started, "worker's", loop)]
    held["echoes"] = [Echo(held["managers"][0]), worker.call(Echo, held["managers"][1])]
    if busy:
        task = Endless()
        held["managers"][0].submit_task(task.wait())
        reached(task.began)
    # Another loop of the same thread's, which nothing but its manager holds.
    held["managers"].append(started("other", loop))


def let_go_and_work(loop: str) -> None:
    # A loop that is collected closes itself, after a warning; as an error that would save it.
    warnings.simplefilter("ignore", ResourceWarning)
    held.clear()
    gc.collect()
    own = started("own", loop)
    assert own.run(give("page")) == "page"


def child_sockets(loop: str, how: str, busy: bool) -> None:
    """The loop has a server and a connection; the child collects, exits, and is gone."""
    prepare(loop, busy)
    for _ in range(3):
        in_child(functools.partial(let_go_and_work, loop), how)
        for echo in held["echoes"]:
            echo.ask()  # a connection that was there at the fork
            echo.connect().close()  # a new one
    for manager in held["managers"]:
        assert manager.run(give("lives on")) == "lives on"
    for echo in held["echoes"]:
        echo.close()


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
@pytest.mark.parametrize("how", EXITS)
def test_sockets_are_still_watched(loop: str, how: str, busy: bool) -> None:
    """The child's end takes no socket out of the epoll set that it shares with the parent."""
    in_process(child_sockets, loop, how, busy)


def child_timers(loop: str, how: str) -> None:
    """A background task ticks on as processes are forked, as with gunicorn's `--preload`."""
    manager = started("ticker", loop)
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.002)
            ticks += 1

    def at_least(wanted: int) -> Callable[[], bool]:
        return lambda: ticks >= wanted

    manager.submit_task(tick())
    for _ in range(5):
        wait_until(at_least(ticks + 3), "it ticks")
        in_child(lambda: started("own", loop).run(give(1)), how)
    wait_until(at_least(ticks + 3), "it ticks on")


@pytest.mark.parametrize("how", EXITS)
def test_background_tasks_go_on(loop: str, how: str) -> None:
    """A task in the master goes on there, and in no child."""
    in_process(child_timers, loop, how)


def child_cleanup(loop: str, how: str) -> None:
    """Tasks of the parent's, in two threads, that say where they clean up."""
    parent = os.getpid()
    worker = Worker()
    managers = [started("main", loop), worker.call(started, "worker's", loop)]

    async def speak_up() -> None:
        try:
            began.set()
            await asyncio.get_running_loop().create_future()
        finally:
            say(f"cleaned up in {'the parent' if os.getpid() == parent else 'a child'}")

    for manager in managers:
        began = threading.Event()
        manager.submit_task(speak_up())
        reached(began)

    def use() -> None:
        managers.clear()

    for _ in range(2):
        in_child(use, how)


@pytest.mark.parametrize("how", EXITS)
def test_cleanup_runs_in_the_parent_only(loop: str, how: str) -> None:
    """No `finally` block of the parent's tasks runs in a child, not even at its full shutdown."""
    assert in_process(child_cleanup, loop, how) == "cleaned up in the parent\n" * 2


class RecordingSelector(selectors.DefaultSelector):
    """Remembers how many events each turn of the loop has found."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[int] = []

    def select(self, timeout: float | None = None) -> Any:
        events = super().select(timeout)
        self.found.append(len(events))
        return events


def child_signals(how: str) -> None:
    """While the loop stands still children are forked; then it says what has come in."""
    selector = RecordingSelector()
    worker = Worker()

    def make_loop() -> asyncio.AbstractEventLoop:
        return asyncio.SelectorEventLoop(selector)

    def make() -> AsyncioLoopManager:
        return started("worker's", loop_factory=make_loop, debug=False)

    manager = worker.call(make)
    stands, go_on = threading.Event(), threading.Event()

    async def stand_still() -> list[int]:
        for _ in range(5):
            await asyncio.sleep(0)  # whatever has woken us is read by now
        stands.set()
        reached(go_on)
        seen = len(selector.found)
        await asyncio.sleep(0)
        return selector.found[seen:]

    found = manager.submit_task(stand_still())
    reached(stands)
    for _ in range(3):
        in_child(lambda: None, how)
    go_on.set()
    assert found.result(LIMIT) == [0]
    assert worker.call(manager.run, give("lives on")) == "lives on"


@pytest.mark.parametrize("how", EXITS)
def test_the_child_says_nothing_to_the_parents_loop(how: str) -> None:
    """A child writes nothing into the wake-up sockets that it shares with the parent.

    The interpreter clears the other threads' thread-locals in it, and the guards of their
    managers with them, before any fork hook runs.
    """
    in_process(child_signals, how)


def child_waiting_threads(loop: str) -> None:
    """Threads wait in `run()` and for futures as the process is forked."""
    owner, task = Worker(), Endless()
    manager = owner.call(started, "owner's", loop)
    release = threading.Event()

    async def wait_for_release() -> str:
        task.began.set()
        await asyncio.to_thread(reached, release)
        return "released"

    waiting = owner.begin(manager.run, wait_for_release())
    reached(task.began)
    with Worker() as other:
        following = other.begin(manager.run, wait_for_release())
        future = manager.submit_task(wait_for_release())
        in_child(lambda: None, "exit")
        release.set()
        assert [one.result(LIMIT) for one in (waiting, following, future)] == ["released"] * 3


def test_threads_that_wait_at_the_fork(loop: str) -> None:
    """Threads that wait, the manager's own and another, notice nothing of a fork."""
    in_process(child_waiting_threads, loop)
