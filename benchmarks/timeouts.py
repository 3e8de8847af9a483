"""What a request's deadline costs, where nothing comes near it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from benchmarks.effort import Effort
from benchmarks.middleware import app, request
from benchmarks.timing import Call, Measure, Scenario, batch, interleave
from benchmarks.work import give_way
from benchmarks.workers import on_worker
from wsgi_async import AsyncLoopMiddleware, loop_from

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

TIMEOUT = 30.0
"""Seconds that a request may wait, as the documentation advises."""


def waits_once(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Wait for a coroutine that takes one turn of the loop, and answer."""
    loop_from(environ).run(give_way())
    return app(environ, start_response)


@contextmanager
def served(timeout: float | None) -> Iterator[Call]:
    """Have a call that serves a request with the middleware; its manager ends with the thread."""
    yield request(AsyncLoopMiddleware(waits_once, timeout=timeout))


def with_a_timeout(effort: Effort) -> Scenario:
    """Requests in process that wait once, with `timeout=` and without: microseconds a request."""
    measures: dict[str, Measure] = {}
    with ExitStack() as stack:
        for key, resident in (("keeper", False), ("resident", True)):
            for suffix, timeout in (("", None), ("_timeout", TIMEOUT)):
                worker = stack.enter_context(on_worker(served(timeout), resident=resident))
                measures[key + suffix] = worker.measured(batch, effort.slow_calls)
        return interleave(measures, "us", rounds=effort.rounds)
