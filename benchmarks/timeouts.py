"""What a request's deadline costs, where nothing comes near it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from benchmarks.effort import Effort
from benchmarks.middleware import request
from benchmarks.timing import Call, Measure, Scenario, batch, interleave
from benchmarks.work import give_way
from benchmarks.workers import on_worker

TIMEOUT = 30.0
"""Seconds that a request may wait, as the documentation advises."""


@contextmanager
def served(timeout: float | None) -> Iterator[Call]:
    """Have a call that serves a request with Flask; its manager ends with the thread."""
    from flask import Flask

    from wsgi_async.integrations.flask import AsyncLoop

    app = Flask(__name__)
    AsyncLoop(app, timeout=timeout)

    @app.get("/")
    async def index() -> str:
        await give_way()
        return "ok"

    yield request(app)


def with_a_timeout(effort: Effort) -> Scenario:
    """Requests for an async view, with `timeout=` and without: microseconds a request."""
    measures: dict[str, Measure] = {}
    with ExitStack() as stack:
        for key, resident in (("keeper", False), ("resident", True)):
            for suffix, timeout in (("", None), ("_timeout", TIMEOUT)):
                worker = stack.enter_context(on_worker(served(timeout), resident=resident))
                measures[key + suffix] = worker.measured(batch, effort.slow_calls)
        return interleave(measures, "us", rounds=effort.rounds)
