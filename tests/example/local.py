"""A real HTTP server on the loopback interface, for the checks to talk to."""

from __future__ import annotations

import queue
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

LIMIT = 30.0
"""Seconds after which whatever a test waits for has failed; no test waits for it to pass."""


class LocalServer:
    """Answers every path; lives in a `with` block.

    `/404` and the like answer with that status, `/hang` answers when `release` is set, `/cut`
    closes the connection instead of answering, `/large` answers with eight megabytes, and all else
    with `status`. `connections` counts those that were accepted, `asked` has the path of each
    request.
    """

    def __init__(self) -> None:
        self.connections = 0
        self.asked: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.headers: queue.SimpleQueue[dict[str, str]] = queue.SimpleQueue()
        self.release = threading.Event()
        self.cut_next = False
        self.status = 200
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        # Threads of connections that the client keeps open end with it, not before.
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def url(self, path: str = "/") -> str:
        return f"http://127.0.0.1:{self._server.server_port}{path}"

    def wait_asked(self) -> str:
        """Wait for the next request that has not been seen yet; its path."""
        return self.asked.get(timeout=LIMIT)

    def __enter__(self) -> LocalServer:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        local = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Headers and body in one packet, so that no delayed acknowledgement is measured.
            wbufsize = -1

            def setup(self) -> None:
                local.connections += 1  # from the one thread that accepts
                super().setup()

            def do_GET(self) -> None:
                local.asked.put(self.path)
                local.headers.put(dict(self.headers))
                if self.path == "/hang":
                    local.release.wait(LIMIT)
                if self.path == "/cut" or local.cut_next:
                    local.cut_next = False
                    self.close_connection = True
                    return
                status = int(self.path[1:]) if self.path[1:].isdigit() else local.status
                self._answer(status, 8_000_000 if self.path == "/large" else 2)

            def _answer(self, status: int, size: int) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(size))
                self.send_header("Set-Cookie", "seen=yes")
                self.end_headers()
                try:
                    self.wfile.write(b"x" * size)
                    self.wfile.flush()
                except OSError:
                    self.close_connection = True  # the client has had enough

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler
