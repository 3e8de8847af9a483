"""How long a Server-Sent Event is under way, from its making to its arrival at the client."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from http.client import HTTPConnection

from benchmarks.effort import Effort
from benchmarks.server import gunicorn
from benchmarks.timing import Measure, Scenario, interleave

ROUTES = {"plain": "/plain", "iterate": "/iterate", "prefetch": "/prefetch"}
"""Contender's key: its path in the app."""


def sent_events(effort: Effort) -> Scenario:
    """Events of three views, one stream at a time: milliseconds from making to arrival."""
    with gunicorn("benchmarks.events_app:application") as port:
        measures: dict[str, Measure] = {
            key: partial(under_way, port, path, effort.events) for key, path in ROUTES.items()
        }
        return interleave(measures, "ms", rounds=effort.event_rounds)


def under_way(port: int, path: str, count: int) -> Sequence[float]:
    """Receive a stream of `count` events; return for each the milliseconds it took to arrive."""
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", f"{path}?events={count}")
        response = connection.getresponse()
        if response.status != 200:
            raise RuntimeError(f"{path} answered {response.status}.")
        found: list[float] = []
        while line := response.readline():
            arrived = time.monotonic_ns()
            if line.startswith(b"data: "):
                found.append((arrived - int(line[6:])) / 1e6)
    finally:
        connection.close()
    if len(found) != count:
        raise RuntimeError(f"{path} sent {len(found)} of {count} events.")
    return found
