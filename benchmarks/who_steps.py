"""Who steps the coroutine of a Django view that calls sync code: its worker thread, or the keeper.

The worker thread comes out of the loop for each query, and what else the view waits for stands
still meanwhile. The keeper stays in the loop, at the price of a hop for the view and for each
query.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.client import HTTPConnection
from time import perf_counter_ns

from benchmarks.effort import Effort
from benchmarks.requests import Route, check, side_by_side
from benchmarks.timing import Measure, Scenario, interleave
from benchmarks.upstream_server import upstream
from benchmarks.views import django_servers

DRIVES = {"worker": "auto", "keeper": "keeper"}
"""Who steps: the middleware's option for it."""

VIEWS = {
    "query": ("query", "query"),
    "http_2": ("http?http_ms=2", "HTTP call of 2 ms"),
    "both_2": ("both?http_ms=2", "query beside HTTP call of 2 ms"),
    "both_20": ("both?http_ms=20", "query beside HTTP call of 20 ms"),
    "slow_2": ("both?query_ms=5&http_ms=2", "query of 5 ms beside HTTP call of 2 ms"),
    "slow_20": ("both?query_ms=5&http_ms=20", "query of 5 ms beside HTTP call of 20 ms"),
}
"""View's key: its path in the app, and its name for people."""

LABELS = {f"{view}_{who}": f"{name}: {who}" for view, (_, name) in VIEWS.items() for who in DRIVES}
"""Contender's key: its name for people."""


@contextmanager
def routes() -> Iterator[dict[str, Route]]:
    """Serve all views, once stepped by the worker threads and once by the keepers."""
    options = {who: {"views": "mixed_views", "drive": drive} for who, drive in DRIVES.items()}
    with upstream() as called, django_servers(options) as ports:
        yield {
            f"{view}_{who}": Route(ports[who], f"/{path}{'&' if '?' in path else '?'}port={called}")
            for view, (path, _) in VIEWS.items()
            for who in DRIVES
        }


def under_load(effort: Effort) -> Scenario:
    """Requests per second of each view, with more connections than threads."""
    with routes() as served:
        return side_by_side(served, effort, rounds=effort.step_rounds)


def one_by_one(effort: Effort) -> Scenario:
    """Milliseconds that each request takes, with one under way at a time."""
    with routes() as served:
        check(served.values())
        measures: dict[str, Measure] = {
            key: partial(answer_times, route, effort.step_requests) for key, route in served.items()
        }
        return interleave(measures, "ms", rounds=effort.step_rounds)


def answer_times(route: Route, count: int) -> Sequence[float]:
    """Ask `count` times over one connection; return the milliseconds of each."""
    connection = HTTPConnection("127.0.0.1", route.port, timeout=30)
    found: list[float] = []
    try:
        for _ in range(count):
            start = perf_counter_ns()
            connection.request("GET", route.path)
            response = connection.getresponse()
            response.read()
            found.append((perf_counter_ns() - start) / 1e6)
            if response.status != 200:
                raise RuntimeError(f"{route.path} answered {response.status}.")
    finally:
        connection.close()
    return found
