"""An HTTP server on this machine that counts its connections."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from tests.core.support import LIMIT

if TYPE_CHECKING:
    from collections.abc import Iterator


class Handler(BaseHTTPRequestHandler):
    """Answers with the path; holds back the answer to /held until the test releases it."""

    protocol_version = "HTTP/1.1"  # keeps the connection open
    disable_nagle_algorithm = True
    timeout = LIMIT  # so that a client that is never closed does not hold up the end of the test
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
