"""Sync endpoints of FastAPI under uvicorn: `run()` beside `anyio.from_thread.run`."""

from __future__ import annotations

from contextlib import ExitStack
from importlib.util import find_spec

from benchmarks.effort import Effort
from benchmarks.requests import Route, side_by_side
from benchmarks.server import own_server
from benchmarks.timing import Missing, Scenario

WAYS = ("ours", "anyio")
"""The contenders' keys."""


def requests(effort: Effort) -> Scenario:
    """Requests per second of an endpoint that calls a no-op coroutine."""
    for package in ("anyio", "fastapi", "uvicorn"):
        if find_spec(package) is None:
            raise Missing(f"{package} is not installed")
    with ExitStack() as stack:
        ports = {
            way: stack.enter_context(own_server("benchmarks.endpoints_app", way)) for way in WAYS
        }
        return side_by_side({way: Route(port, "/") for way, port in ports.items()}, effort)
