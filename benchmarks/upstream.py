"""Views that call other servers, through gunicorn: a client that is kept, or one per request."""

from __future__ import annotations

from benchmarks.effort import Effort
from benchmarks.requests import Route, side_by_side
from benchmarks.server import gunicorn
from benchmarks.timing import Scenario
from benchmarks.upstream_server import upstream

ROUTES = {"ours": "/ours", "asyncio_run": "/asyncio-run", "shared_tls": "/shared-tls"}
"""Contender's key: its path in the app."""


def http_calls(effort: Effort) -> Scenario:
    """Requests per second of three views that make the same HTTP calls."""
    with (
        upstream() as called,
        gunicorn("benchmarks.upstream_app:application") as port,
    ):
        routes = {key: Route(port, f"{path}?port={called}") for key, path in ROUTES.items()}
        return side_by_side(routes, effort)
