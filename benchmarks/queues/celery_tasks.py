"""Tasks per second of a Celery worker: async ones on a loop that stays open, or a loop for each."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from time import perf_counter
from typing import Any

from benchmarks.child import environment, module
from benchmarks.effort import Effort
from benchmarks.redis_server import redis_server
from benchmarks.timing import Measure, Missing, Scenario, interleave
from benchmarks.upstream_server import upstream

WAYS = ("ours", "asyncio_run", "shared_tls")
"""Contender's key, which is the name of its task too."""

APP = "benchmarks.queues.celery_app"
REDIS, CALLED = "CELERY_REDIS", "CELERY_CALLED"
"""Environment variables of the worker: the URL of its Redis, and the one that its tasks call."""

GATE = "gate"
"""The list in Redis that the task `wait` waits for."""

GRACE = 30.0
"""Seconds that the worker gets to start, to do a round, and to end."""


def http_call(effort: Effort) -> Scenario:
    """Tasks per second that make one HTTP call each; one process of the prefork pool does all."""
    if find_spec("celery") is None:
        raise Missing("celery is not installed")
    with upstream() as called, redis_server() as port:
        url = f"redis://127.0.0.1:{port}/0"
        with worker(url, f"http://127.0.0.1:{called}/"), client(url) as app:
            check(app)
            measures: dict[str, Measure] = {
                way: partial(done_per_second, app, way, effort.queue_tasks) for way in WAYS
            }
            return interleave(measures, "1/s", rounds=effort.request_rounds)


@contextmanager
def worker(redis: str, called: str) -> Iterator[None]:
    """Have a worker with one process.

    Args:
        redis: The URL of its broker, which keeps results too.
        called: The URL that its tasks call.

    Raises:
        RuntimeError: It ended too early; the error holds what it wrote.
    """
    quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat")
    command = module("celery", "-A", APP, "worker")
    command += ["--concurrency", "1", *quiet]
    variables = {**environment(), REDIS: redis, CALLED: called}
    with tempfile.TemporaryFile("w+") as log:
        running = subprocess.Popen(command, env=variables, stdout=log, stderr=log)
        try:
            yield
        except Exception as error:
            log.seek(0)
            raise RuntimeError(f"The worker did not do its tasks: {log.read()}") from error
        finally:
            running.terminate()
            running.wait(GRACE)


@contextmanager
def client(redis: str) -> Iterator[Any]:
    """Have the app as those have it who send tasks."""
    from celery import Celery

    app: Any = Celery(broker=redis, backend=redis, set_as_current=False)
    try:
        yield app
    finally:
        app.close()


def send(app: Any, task: str, **options: Any) -> Any:
    """Send a task by its name; return Celery's result."""
    return app.send_task(f"{APP}.{task}", **options)


def check(app: Any) -> None:
    """Look whether all give the same answer.

    Raises:
        RuntimeError: One of them does not answer "ok".
    """
    for way in WAYS:
        if wait_for(send(app, way)) != "ok":
            raise RuntimeError(f"{way} does not give the answer that all must give.")


def done_per_second(app: Any, way: str, count: int) -> Sequence[float]:
    """Have `count` tasks done that were all sent before; return how many a second."""
    send(app, "wait", ignore_result=True)
    for _ in range(count - 1):
        send(app, way, ignore_result=True)
    last = send(app, way)  # one process does them in their order
    start = perf_counter()
    app.backend.client.rpush(GATE, 1)
    wait_for(last)
    return (count / (perf_counter() - start),)


def wait_for(result: Any) -> Any:
    """Return what a task returns."""
    found = result.get(timeout=GRACE)
    # Its destructor would look for the backend when that has ended.
    result.backend.remove_pending_result(result)
    result.backend = None
    return found
