"""A small HTTP server for the app to call, in a process of its own: the app shall be what is slow.

`python -m benchmarks.upstream_server DESCRIPTOR` serves on a listening socket that it inherits.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from benchmarks.child import environment, module

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"


class Answering(asyncio.Protocol):
    """Answers "ok" to each request, when it asks for it, and keeps the connection.

    Lives as long as the connection. Who asks for a wait sends one request at a time.
    """

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._begun = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer what is complete; a request has no body here."""
        *requests, self._begun = (self._begun + data).split(b"\r\n\r\n")
        for milliseconds in map(asked_to_wait, requests):
            if milliseconds:
                asyncio.get_running_loop().call_later(milliseconds / 1000, self._answer)
            else:
                self._answer()

    def _answer(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(ANSWER)


def asked_to_wait(request: bytes) -> int:
    """Return the milliseconds that the path of a request asks for: `/20` is 20, `/` none."""
    return int(request.split(b" ", 2)[1][1:] or 0)


async def serve(listener: socket.socket) -> None:
    """Serve until the process is ended."""
    server = await asyncio.get_running_loop().create_server(Answering, sock=listener, backlog=1024)
    await server.serve_forever()


@contextmanager
def upstream() -> Iterator[int]:
    """Have the server in a process of its own; gives its port."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        port: int = listener.getsockname()[1]
        command = module("benchmarks.upstream_server", str(listener.fileno()))
        server = subprocess.Popen(command, env=environment(), pass_fds=[listener.fileno()])
    try:
        yield port
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    asyncio.run(serve(socket.socket(fileno=int(sys.argv[1]))))
