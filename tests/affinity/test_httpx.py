"""An httpx client that is kept over calls, with its connections."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import httpx

from tests.core.support import LIMIT, on_worker, reached

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.core.conftest import MakeManager


class Handler(BaseHTTPRequestHandler):
    """Answers with the path; holds back the answer to /held until the test releases it."""

    protocol_version = "HTTP/1.1"  # keeps the connection open
    disable_nagle_algorithm = True
    server: Server

    def do_GET(self) -> None:
        if self.path == "/held":
            self.server.holds.set()
            self.server.release.wait(LIMIT)
        body = self.path.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    """Counts its connections."""

    daemon_threads = False  # closing it waits until every connection is closed

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.accepted = 0
        self.holds, self.release = threading.Event(), threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def get_request(self) -> Any:
        request = super().get_request()
        self.accepted += 1
        return request


@contextmanager
def serving() -> Iterator[Server]:
    """A server that runs until the end of the block."""
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.release.set()
            server.shutdown()
            thread.join(LIMIT)


async def opened(server: Server) -> httpx.AsyncClient:
    """A client for this server, made on the loop."""
    return httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=LIMIT)


async def get(client: httpx.AsyncClient, path: str) -> str:
    """Get a path; the answer's body."""
    response = await client.get(path)
    return response.raise_for_status().text


@on_worker
def test_calls_reuse_the_connection(make_manager: MakeManager) -> None:
    """One connection serves call after call, and background requests between them."""
    manager = make_manager()
    with serving() as server:
        client = manager.run(opened(server))
        for number in range(5):
            path = f"/{number}"
            assert manager.run(get(client, path)) == path
            assert manager.submit_task(get(client, path)).result(LIMIT) == path
            assert manager.submit_task(get(client, path), True).result(LIMIT) == path
        assert server.accepted == 1
        manager.run(client.aclose())


@on_worker
def test_calls_during_a_background_request(make_manager: MakeManager) -> None:
    """While a background request waits, calls share a connection, and later all of them do."""
    manager = make_manager()
    with serving() as server:
        client = manager.run(opened(server))
        background = manager.submit_task(get(client, "/held"))
        reached(server.holds)
        for number in range(5):
            assert manager.run(get(client, f"/{number}")) == f"/{number}"
        assert not background.done()
        server.release.set()
        assert background.result(LIMIT) == "/held"
        for number in range(5):
            assert manager.run(get(client, f"/again/{number}")) == f"/again/{number}"
        assert server.accepted == 2
        manager.run(client.aclose())


@on_worker
def test_a_request_that_is_cancelled_between_calls(make_manager: MakeManager) -> None:
    """A call that runs out of time leaves the client in order for the next."""
    manager = make_manager()
    with serving() as server:
        client = manager.run(opened(server))
        try:
            manager.run(get(client, "/held"), timeout=0.05)
        except TimeoutError:
            pass
        else:
            raise AssertionError("it was held")
        server.release.set()
        for number in range(3):
            assert manager.run(get(client, f"/{number}")) == f"/{number}"
        assert server.accepted == 2
        manager.run(client.aclose())
