"""An ASGI app under WSGI, beside a2wsgi: whole requests, and the first byte of a stream."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from http.client import HTTPConnection
from importlib.util import find_spec
from time import perf_counter_ns

from benchmarks.effort import Effort
from benchmarks.middleware import request
from benchmarks.mount_app import PART, PARTS, application
from benchmarks.server import Served, servers
from benchmarks.timing import Call, Measure, Missing, Scenario, batch, interleave
from benchmarks.views import one_view
from benchmarks.workers import on_worker

WAYS = {"resident": (True, True), "keeper": (True, False), "a2wsgi": (False, False)}
"""Contender's key: whether it is wsgi_async's, and whether loops live on worker threads."""

APPS = {
    key: Served(f"benchmarks.mount_app:application(ours={ours})", resident)
    for key, (ours, resident) in WAYS.items()
}
"""Contender's key: its app, and how it is served."""


def mounted(effort: Effort) -> Scenario:
    """Requests in process, for an app that answers at once: microseconds a request."""
    _need_a2wsgi()
    with ExitStack() as stack:
        measures: dict[str, Measure] = {}
        for key, (ours, resident) in WAYS.items():
            worker = stack.enter_context(on_worker(called(ours), resident=resident))
            measures[key] = worker.measured(batch, effort.slow_calls)
        return interleave(measures, "us", rounds=effort.rounds)


@contextmanager
def called(ours: bool) -> Iterator[Call]:
    """Have a call that serves a request; what it runs on ends with the thread."""
    if ours:
        yield request(application(ours=True))
    else:
        with a_loop() as loop:
            yield request(application(ours=False, loop=loop))


@contextmanager
def a_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Have a loop on a thread of its own, as a2wsgi makes one, but take it down again."""
    with closing(asyncio.new_event_loop()) as loop, ThreadPoolExecutor(1) as pool:
        pool.submit(loop.run_forever)
        try:
            yield loop
        finally:
            loop.call_soon_threadsafe(loop.stop)


def requests(effort: Effort) -> Scenario:
    """Requests per second of the same app, through gunicorn."""
    _need_a2wsgi()
    return one_view(APPS, "/", effort)


def first_bytes(effort: Effort) -> Scenario:
    """Streams, one at a time: milliseconds from the request to the first byte of the body."""
    _need_a2wsgi()
    with servers(APPS) as ports:
        measures: dict[str, Measure] = {
            key: partial(arrivals, port, effort.events) for key, port in ports.items()
        }
        return interleave(measures, "ms", rounds=effort.event_rounds)


def arrivals(port: int, count: int) -> Sequence[float]:
    """Ask for so many streams over one connection; the milliseconds to the first byte of each."""
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    found: list[float] = []
    try:
        for _ in range(count):
            start = perf_counter_ns()
            connection.request("GET", "/stream")
            response = connection.getresponse()
            first = response.read(1)
            found.append((perf_counter_ns() - start) / 1e6)
            if first + response.read() != PART * PARTS:
                raise RuntimeError("The stream was not what was sent.")
    finally:
        connection.close()
    return found


def _need_a2wsgi() -> None:
    if find_spec("a2wsgi") is None:
        raise Missing("a2wsgi is not installed")
