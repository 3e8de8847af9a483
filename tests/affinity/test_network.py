"""asyncio's own servers, connections, threads and name look-ups, kept over calls."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import TYPE_CHECKING

from tests.core.support import LIMIT, Worker, on_worker, outcome

if TYPE_CHECKING:
    from tests.core.conftest import MakeManager

    Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Echo:
    """A server on a loop that answers each line with itself. Lives from `begin()` to `end()`."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server
        self.port: int

    async def begin(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        while line := await reader.readline():
            writer.write(line)
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def end(self, *clients: Streams) -> None:
        """Close the clients, then the server's side of them, then the server."""
        for _, writer in clients:
            writer.close()
            await writer.wait_closed()
        await asyncio.gather(*self._tasks)
        self._server.close()
        await self._server.wait_closed()


async def ask(streams: Streams, line: str) -> str:
    """Send a line and read the answer."""
    reader, writer = streams
    writer.write(f"{line}\n".encode())
    return (await reader.readline()).decode().strip()


def ask_blocking(port: int, *lines: str) -> list[str]:
    """As a client that knows nothing of asyncio; the answers."""
    with socket.create_connection(("127.0.0.1", port), LIMIT) as client:
        client.settimeout(LIMIT)
        answers = client.makefile("rw")
        with answers:
            for line in lines:
                answers.write(f"{line}\n")
            answers.flush()
            return [answers.readline().strip() for _ in lines]


def test_a_server_answers_while_nobody_calls(
    make_manager: MakeManager, runner: str, worker: Worker
) -> None:
    """A server that one call has started serves another thread's client between the calls."""
    manager = worker.call(make_manager)
    server = Echo()
    worker.call(lambda: manager.run(server.begin()))
    for number in range(3):
        lines = [f"{number} first", f"{number} second"]
        assert ask_blocking(server.port, *lines) == lines
    worker.call(lambda: manager.run(server.end()))


def test_a_server_answers_while_calls_come_and_go(
    make_manager: MakeManager, runner: str, worker: Worker
) -> None:
    """Clients of a server on the loop are served as well while its thread calls all the time."""
    manager = worker.call(make_manager)
    server = Echo()
    worker.call(lambda: manager.run(server.begin()))
    served = threading.Event()

    def call() -> int:
        calls = 0
        while not served.is_set():
            manager.run(asyncio.sleep(0))
            calls += 1
        return calls

    calls = worker.begin(call)
    try:
        for number in range(10):
            assert ask_blocking(server.port, str(number)) == [str(number)]
    finally:
        served.set()
    assert outcome(calls) > 0
    worker.call(lambda: manager.run(server.end()))


@on_worker
def test_a_connection_is_kept_over_calls(make_manager: MakeManager) -> None:
    """Server and client live on one loop, and each call or background task uses them again."""
    manager = make_manager()
    server = Echo()
    manager.run(server.begin())
    client = manager.run(asyncio.open_connection("127.0.0.1", server.port))
    for number in range(5):
        assert manager.run(ask(client, f"{number} run")) == f"{number} run"
        future = manager.submit_task(ask(client, f"{number} future"))
        assert future.result(LIMIT) == f"{number} future"
        driven = manager.submit_task(ask(client, f"{number} driven"), return_sync_future=True)
        assert driven.result(LIMIT) == f"{number} driven"
    manager.run(server.end(client))


@on_worker
def test_threads_are_kept_over_calls(make_manager: MakeManager) -> None:
    """to_thread() works in every call, on the threads that the calls before have left."""
    manager = make_manager()
    local = threading.local()
    threads: set[object] = set()  # no idents: these are used again

    def work() -> None:
        local.token = getattr(local, "token", None) or object()
        threads.add(local.token)

    for _ in range(20):
        background = manager.submit_task(asyncio.to_thread(work))
        manager.run(asyncio.to_thread(work))
        background.result(LIMIT)
    work()
    assert local.token in threads  # this thread's own
    # Two are busy at a time, and the pool may not have noticed yet that another is done.
    # An executor for each call would have made 40.
    assert 1 < len(threads) < 20


@on_worker
def test_names_are_looked_up_in_every_call(make_manager: MakeManager) -> None:
    """getaddrinfo() finds localhost in calls, in background work and in both at once."""
    manager = make_manager()

    async def look_up() -> set[str]:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)
        return {str(address[0]) for *_, address in found}

    expected = {
        str(address[0])
        for *_, address in socket.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)
    }
    for _ in range(5):
        background = manager.submit_task(look_up())
        assert manager.run(look_up()) == expected
        assert background.result(LIMIT) == expected
        assert manager.submit_task(look_up(), return_sync_future=True).result(LIMIT) == expected
