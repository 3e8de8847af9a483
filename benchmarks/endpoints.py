"""Sync endpoints of FastAPI under uvicorn: `run()` beside `anyio.from_thread.run`."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec

from benchmarks.child import environment, module
from benchmarks.effort import Effort
from benchmarks.requests import Route, side_by_side
from benchmarks.server import GRACE
from benchmarks.timing import Missing, Scenario

WAYS = ("ours", "anyio")
"""The contenders' keys."""


def requests(effort: Effort) -> Scenario:
    """Requests per second of an endpoint that calls a no-op coroutine."""
    for package in ("anyio", "fastapi", "uvicorn"):
        if find_spec(package) is None:
            raise Missing(f"{package} is not installed")
    with ExitStack() as stack:
        routes = {way: Route(stack.enter_context(uvicorn(way)), "/") for way in WAYS}
        return side_by_side(routes, effort)


@contextmanager
def uvicorn(way: str) -> Iterator[int]:
    """Serve the app in one of the ways; gives the port."""
    # Bound here and inherited, so no port can be lost to somebody else.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        command = module("benchmarks.endpoints_app", str(listener.fileno()), way)
        server = subprocess.Popen(command, env=environment(), pass_fds=[listener.fileno()])
    try:
        yield port
    finally:
        server.terminate()
        server.wait(GRACE)
