"""Metrics of a server with several workers, and of forked children."""

from __future__ import annotations

import os
import re
import signal
from typing import TYPE_CHECKING

import pytest

from tests.core.forking import in_child
from tests.core.support import in_process, run_code
from tests.servers.process import Server, assert_clean, gunicorn, wait_until
from wsgi_async import AsyncioLoopManager
from wsgi_async.metrics import read, start_metrics

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("prometheus_client", reason="prometheus_client is not installed")


def value(server: Server, line: str) -> float:
    """The value of a line of what the server shows; 0 if it is not there."""
    _, body = server.request("/metrics")
    found = re.search(rf"^{re.escape(line)} (\S+)$", body.decode(), re.MULTILINE)
    return float(found[1]) if found else 0.0


@pytest.mark.gunicorn
@pytest.mark.slow
def test_the_workers_of_a_server_add_up(tmp_path: Path) -> None:
    """All workers count together; one that is replaced leaves its counts and takes its managers."""
    options = ("--workers", "2", "--config", "python:tests.metrics.gunicorn_conf")
    app, runs = "tests.metrics.gunicorn_app:app", 'wsgi_async_call_seconds_count{kind="run"}'
    cut_off = 'wsgi_async_tasks_cut_off_total{name="sleep"}'
    with gunicorn(app, *options, PROMETHEUS_MULTIPROC_DIR=str(tmp_path)) as server:
        first = {int(server.request("/")[1]) for _ in range(20)}
        wait_until(lambda: value(server, runs) == 20, what="20 calls are counted")
        worker = int(server.request("/task")[1])
        server.signal(signal.SIGTERM, worker)
        server.wait_for("Booting worker", count=3)
        wait_until(lambda: value(server, cut_off) == 1, what="the task is counted as cut off")
        wait_until(lambda: int(server.request("/")[1]) not in first, what="the new worker answers")
        assert value(server, runs) >= 20
        managers = 'wsgi_async_managers{runner="keeper"}'
        wait_until(lambda: value(server, managers) in (1, 2), what="only live workers count")
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        assert_clean(server)


async def nothing() -> None:
    pass


def child_forks() -> None:
    """Parent and child each count their own calls."""
    start_metrics()

    def child() -> None:
        assert read()["calls"]["run"]["count"] == 0
        with AsyncioLoopManager() as own:
            own.run(nothing())
        assert read()["calls"]["run"]["count"] == 1

    with AsyncioLoopManager() as manager:
        for _ in range(3):
            manager.run(nothing())
        in_child(child)
        assert read()["calls"]["run"]["count"] == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_forked_child_counts_anew() -> None:
    """What the parent has counted is not the child's, and not counted twice."""
    in_process(child_forks)


_ENDS = """
import asyncio, os
os.environ["PROMETHEUS_MULTIPROC_DIR"] = {folder!r}
from wsgi_async import AsyncioLoopManager
from wsgi_async.metrics import start_metrics
start_metrics()
manager = AsyncioLoopManager()
manager.start()
manager.submit_task(asyncio.sleep(600))
"""


def test_what_the_end_of_the_process_cuts_off(tmp_path: Path) -> None:
    """The last counts of a process are in its files."""
    from prometheus_client import CollectorRegistry
    from prometheus_client.multiprocess import MultiProcessCollector

    run_code(_ENDS.format(folder=str(tmp_path)))
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(tmp_path))
    assert registry.get_sample_value("wsgi_async_tasks_cut_off_total", {"name": "sleep"}) == 1
