"""Whole requests through gunicorn's threads: what of all this is left for a user to see."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from benchmarks.child import environment, module
from benchmarks.effort import Effort
from benchmarks.server import Served, get, servers
from benchmarks.timing import Measure, Scenario, interleave

CONNECTIONS = 8
"""Connections that the client keeps open; more than there are threads, so none is idle."""

APP = "benchmarks.flask_app:application"

ROUTES = {
    "plain": ("gthread", "/plain"),
    "resident": ("resident", "/ours"),
    "keeper": ("gthread", "/ours"),
    "flask_async": ("gthread", "/flask-async"),
    "asyncio_run": ("gthread", "/asyncio-run"),
}
"""Contender's key: its server, and its path in the app. One server has all that can share one."""


class Route(NamedTuple):
    """Where a view is: one server, one path of its app."""

    port: int
    path: str


def requests(effort: Effort) -> Scenario:
    """Requests per second of views that do the same in different ways."""
    with servers({"gthread": Served(APP), "resident": Served(APP, resident=True)}) as ports:
        routes = {key: Route(ports[server], path) for key, (server, path) in ROUTES.items()}
        return side_by_side(routes, effort)


def side_by_side(routes: Mapping[str, Route], effort: Effort) -> Scenario:
    """Measure views, of one app or of several: requests per second.

    Args:
        routes: contender's key: where it is; every one must answer "ok".
        effort: how long to measure.
    """
    check(routes.values())
    load = with_wrk if client() == "wrk" else with_own_client
    measures: dict[str, Measure] = {
        key: partial(load, *route, effort.request_seconds) for key, route in routes.items()
    }
    return interleave(measures, "1/s", rounds=effort.request_rounds)


def check(routes: Iterable[Route]) -> None:
    """Look whether all give the same answer.

    Raises:
        RuntimeError: One of them does not answer "ok".
    """
    for route in routes:
        if get(*route) != "ok":
            raise RuntimeError(f"{route.path} does not give the answer that all must give.")


def client() -> str:
    """Return the name of the load generator that is used here."""
    return "wrk" if shutil.which("wrk") else "http.client threads"


def with_wrk(port: int, path: str, seconds: int) -> Sequence[float]:
    """Measure with wrk; return requests per second."""
    output = _output(
        ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", f"http://127.0.0.1:{port}{path}"]
    )
    return (per_second(output),)


def with_own_client(port: int, path: str, seconds: int) -> Sequence[float]:
    """Measure with the client of this package; return requests per second."""
    arguments = [str(port), path, str(seconds), str(CONNECTIONS)]
    return (float(_output(module("benchmarks.client", *arguments))),)


def per_second(output: str) -> float:
    """Read requests per second out of what wrk prints.

    Raises:
        RuntimeError: some answers were errors, so the figure would say nothing.
    """
    if re.search(r"Non-2xx|Socket errors", output):
        raise RuntimeError(f"Some requests failed:\n{output}")
    found = re.search(r"Requests/sec:\s+([\d.]+)", output)
    if found is None:
        raise RuntimeError(f"wrk did not say how many requests it made:\n{output}")
    return float(found[1])


def _output(command: list[str]) -> str:
    done = subprocess.run(
        command, env=environment(), stdout=subprocess.PIPE, text=True, timeout=60, check=True
    )
    return done.stdout
