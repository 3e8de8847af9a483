"""A real gunicorn for the apps of this benchmark."""

from __future__ import annotations

import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection
from typing import IO, NamedTuple

from benchmarks.child import environment, module

WORKERS = 1
"""One process on one core leaves the other core to the client."""

THREADS = 8
"""Threads of each gunicorn worker: one for each of the client's connections."""

RESIDENT = "wsgi_async.integrations.gunicorn.LoopThreadWorker"
"""gunicorn's name for the workers on whose threads loops live."""

GRACE = 15
"""Seconds that gunicorn gets to start and to end."""


class Served(NamedTuple):
    """An app, and how it is served.

    Args:
        app: as gunicorn takes it: "module:application", or "module:factory('argument')".
        resident: whether loops live on the worker threads.
        threads: how many of them.
    """

    app: str
    resident: bool = False
    threads: int = THREADS


@contextmanager
def servers(apps: Mapping[str, Served]) -> Iterator[dict[str, int]]:
    """Serve several apps, each by a gunicorn of its own; gives the port of each."""
    with ExitStack() as stack:
        yield {key: stack.enter_context(gunicorn(*served)) for key, served in apps.items()}


@contextmanager
def gunicorn(app: str, resident: bool = False, threads: int = THREADS) -> Iterator[int]:
    """Serve one app, as `Served` says; gives the port.

    Raises:
        RuntimeError: it did not start; the error holds what gunicorn wrote.
    """
    # The socket is bound here and inherited, so no port can be lost to somebody else.
    with socket.create_server(("127.0.0.1", 0)) as listener, tempfile.TemporaryFile("w+") as log:
        port: int = listener.getsockname()[1]
        command = module("gunicorn", app)
        command += ["--config", "python:benchmarks.gunicorn_conf"]
        command += ["--workers", str(WORKERS), "--threads", str(threads)]
        command += ["--worker-class", RESIDENT if resident else "gthread"]
        command += ["--bind", f"fd://{listener.fileno()}"]
        server = subprocess.Popen(
            command, env=environment(), pass_fds=[listener.fileno()], stderr=log
        )
        # From here on only gunicorn listens: if it ends, connections fail instead of waiting.
        listener.close()
        try:
            _wait_for(port, log)
            yield port
        finally:
            _end(server)


@contextmanager
def own_server(name: str, *arguments: str) -> Iterator[int]:
    """Run a module that serves on a socket that it inherits; gives the port."""
    # Bound here and inherited, so no port can be lost to somebody else.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        command = module(name, str(listener.fileno()), *arguments)
        server = subprocess.Popen(command, env=environment(), pass_fds=[listener.fileno()])
    try:
        yield port
    finally:
        _end(server)


def get(port: int, path: str) -> str:
    """Return the body of one answer."""
    connection = HTTPConnection("127.0.0.1", port, timeout=GRACE)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read().decode()
        if response.status != 200:
            raise RuntimeError(f"{path} answered {response.status}: {body[:200]}")
        return body
    finally:
        connection.close()


def _wait_for(port: int, log: IO[str]) -> None:
    try:
        with closing(HTTPConnection("127.0.0.1", port, timeout=GRACE)) as connection:
            # Waits in the socket's backlog until a worker is there, and answers, whatever it is.
            connection.request("GET", "/")
            connection.getresponse().read()
    except OSError as error:
        log.seek(0)
        raise RuntimeError(f"gunicorn did not start: {log.read()}") from error


def _end(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(GRACE)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
