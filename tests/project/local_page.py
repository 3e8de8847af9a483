"""A web page on this machine, for examples that fetch one."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    connections = 0
    """How many there were so far."""

    def process_request(self, request: object, client_address: object) -> None:
        self.connections += 1
        super().process_request(request, client_address)  # type: ignore[arg-type]

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: some examples show clients that break off."""


class _Page(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # connections stay open

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, format: str, *args: object) -> None:
        pass


class LocalPage:
    """A page that says hello, at `url`. Lives in the `with` block of `local_page()`."""

    def __init__(self, server: _Server) -> None:
        self._server = server
        self.url = f"http://127.0.0.1:{server.server_port}/"

    @property
    def connections(self) -> int:
        """How many connections clients have made."""
        return self._server.connections


@contextmanager
def local_page() -> Iterator[LocalPage]:
    """Serve the page."""
    with _Server(("127.0.0.1", 0), _Page) as server:
        serving = threading.Thread(target=server.serve_forever, name="local page")
        serving.start()
        try:
            yield LocalPage(server)
        finally:
            server.shutdown()
            serving.join()
