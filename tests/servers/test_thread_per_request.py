"""Servers that start a thread for each request: loops and their connections are reused."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import httpx2
import pytest

from tests.servers.process import LIMIT, run_script
from wsgi_async import AsyncioLoopManager, AsyncLoopMiddleware, loop_from

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from socketserver import TCPServer
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

CLIENTS = 8
REQUESTS = 200


class Upstream(BaseHTTPRequestHandler):
    """Answers over connections that it keeps open, and counts those."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    connections: list[object] = []  # noqa: RUF012 - one server in the process

    def setup(self) -> None:
        super().setup()
        self.connections.append(self.client_address)

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def serving(server: TCPServer) -> Iterator[str]:
    """The address of a server that serves during the block."""
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.socket.getsockname()[1]}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Application:
    """Asks upstream through a client that is kept for each loop, and tells its thread's name."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, httpx2.AsyncClient]
        self._clients = WeakKeyDictionary()
        self.managers: set[AsyncioLoopManager] = set()
        self.threads: dict[str, threading.Thread] = {}
        self._mutex = threading.Lock()  # guards the clients, the two above and the one below
        self._in_use: set[AsyncioLoopManager] = set()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        manager, thread = loop_from(environ), threading.current_thread()
        with self._mutex:
            assert manager not in self._in_use
            self._in_use.add(manager)
            self.managers.add(manager)
            self.threads[thread.name] = thread
        status = manager.run(self._ask())
        with self._mutex:
            self._in_use.remove(manager)
        start_response(f"{status} OK", [("Content-Type", "text/plain")])
        return [thread.name.encode()]

    async def _ask(self) -> int:
        loop = asyncio.get_running_loop()
        with self._mutex:
            client = self._clients.get(loop)
            if client is None:
                # Without proxies and certificates, which take longer than the requests. A busy
                # machine may leave a connection idle for longer than the 5 s of the default.
                kept = httpx2.Limits(keepalive_expiry=None)
                client = httpx2.AsyncClient(
                    trust_env=False, verify=False, timeout=LIMIT, limits=kept
                )
                self._clients[loop] = client
        return (await client.get(self._upstream)).status_code

    def close(self) -> None:
        """Close the clients, each on its loop, and stop the managers."""
        for manager in self.managers:
            manager.run(self._clients[manager.get_event_loop()].aclose())
            manager.stop(LIMIT)


def ask(url: str, app: Application) -> None:
    """One request; the thread that has served it ends a little after its answer."""
    with urllib.request.urlopen(url, timeout=LIMIT) as response:
        app.threads[response.read().decode()].join(LIMIT)


def make_werkzeug(app: WSGIApplication) -> TCPServer:
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        def log_request(self, *_: object) -> None:
            pass

    return make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)


def make_django(app: WSGIApplication) -> TCPServer:
    from django.conf import settings
    from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler

    class Quiet(WSGIRequestHandler):  # type: ignore[misc]
        def log_message(self, *_: object) -> None:
            pass

    settings.configure()  # for the whole process, so this one has its own
    server: Any = ThreadedWSGIServer(("127.0.0.1", 0), Quiet)
    server.set_app(app)
    return server  # type: ignore[no-any-return]


def serve_many(kind: str) -> dict[str, int]:
    """Have so many clients send so many requests; what was opened for them."""
    make = {"werkzeug": make_werkzeug, "django": make_django}[kind]
    Upstream.connections.clear()
    upstream = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    with serving(upstream) as upstream_url:
        app = Application(upstream_url)
        # Without debug mode, in which asyncio tells of each step that takes its time.
        server = make(AsyncLoopMiddleware(app, debug=False))
        with serving(server) as url, ThreadPoolExecutor(CLIENTS) as pool:
            for call in [pool.submit(ask, url, app) for _ in range(REQUESTS)]:
                call.result(LIMIT)
        app.close()
    return {
        "threads": len(app.threads),
        "loops": len(app.managers),
        "connections": len(Upstream.connections),
    }


def check(opened: dict[str, int]) -> None:
    assert opened["threads"] == REQUESTS
    assert opened["loops"] <= CLIENTS
    assert opened["connections"] == opened["loops"]


def test_werkzeugs_threads_reuse_loops_and_connections() -> None:
    """Each of 200 requests has a thread, and they share as many loops as there are clients."""
    check(serve_many("werkzeug"))


def test_djangos_threads_reuse_loops_and_connections() -> None:
    """It is the same under Django's development server."""
    pytest.importorskip("django")
    code = f"import json; from {__name__} import serve_many as do; print(json.dumps(do('django')))"
    check(json.loads(run_script(code)))
