"""A server that the applications under test ask, and that counts connections."""

from __future__ import annotations

import contextlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Answer(BaseHTTPRequestHandler):
    """Answers over connections that it keeps open."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    connections: list[object]  # each server has a subclass

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
def counting_server() -> Iterator[tuple[str, list[object]]]:
    """The address of a server that answers "ok" during the block, and its connections so far."""
    connections: list[object] = []
    handler = type("_Answer", (_Answer,), {"connections": connections})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True  # the application keeps its connection open
    server.block_on_close = False
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", connections
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
