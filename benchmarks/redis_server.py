"""A real Redis for the calls of this benchmark, in a process of its own."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from benchmarks.timing import Missing

KEY, VALUE = "answer", "ok"
"""The one thing that is in it."""

GRACE = 15.0
"""Seconds that it gets to start."""


def missing() -> str | None:
    """Return what is not installed here, or None where all is there."""
    if shutil.which("redis-server") is None:
        return "redis-server is not installed (Debian's package redis-server)"
    return None if find_spec("redis") else "redis-py is not installed"


@contextmanager
def redis_server() -> Iterator[int]:
    """Have a Redis with `KEY` in it; gives its port.

    Raises:
        Missing: it is not installed.
        RuntimeError: it did not start; the error holds what it wrote.
    """
    if reason := missing():
        raise Missing(reason)
    port = free_port()
    command = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--save", ""]
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as log:
        server = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        try:
            fill(port, server)
            yield port
        except ConnectionError as error:
            log.seek(0)
            raise RuntimeError(f"redis-server did not start: {log.read()}") from error
        finally:
            server.terminate()
            server.wait()


def free_port() -> int:
    """Return a port that nobody listens on. redis-server takes no socket that is bound already."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def fill(port: int, server: subprocess.Popen[bytes]) -> None:
    """Put the one thing in, as soon as it answers."""
    deadline = time.monotonic() + GRACE
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), GRACE) as connection:
                connection.sendall(f"SET {KEY} {VALUE}\r\n".encode())
                answer = connection.recv(100)
            break
        except ConnectionRefusedError:
            if server.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
    if answer != b"+OK\r\n":
        raise ConnectionError(f"The answer was {answer!r}.")
