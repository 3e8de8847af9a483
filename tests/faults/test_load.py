"""Reloading, recycling, stopping and forking while clients ask without a pause.

Each is tried without wsgi_async too: what a plain gunicorn loses is its own.
"""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.faults.load import Load
from tests.faults.serving import APP, Logged, outcome, serve
from tests.servers.process import assert_clean

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.servers.process import Server

pytestmark = [pytest.mark.gunicorn, pytest.mark.slow]

PLAIN = "tests.faults.views:unwrapped"

threaded = pytest.mark.parametrize("kind", ["gthread", "LoopThreadWorker"])


def lost(disturb: Callable[[Server, Load], None], kind: str, app: str, *options: str) -> int:
    """How many requests are lost on their way into an application while it is disturbed."""
    with serve(kind, *options, app=app, threads=4) as server:
        with Load(server) as load:
            load.wait_for(50)
            disturb(server, load)
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        load.assert_answered()
        assert_clean(server)
        assert len(load.answered) > 50
        print(kind, app, disturb.__name__, len(load.answered), load.lost)
        return len(load.lost)


def recycle(server: Server, load: Load) -> None:
    """Wait for three workers that have had enough."""
    server.wait_for("Autorestarting worker after current request", count=3)
    load.wait_for(50)


def reload(server: Server, load: Load) -> None:
    """Have all workers replaced, twice."""
    for reloads in (1, 2):
        server.signal(signal.SIGHUP)
        server.wait_for("Booting worker with pid", count=2 * (1 + reloads))
        server.wait_for("Worker exiting", count=2 * reloads)
        load.wait_for(50)


@threaded
def test_recycling(kind: str) -> None:
    """With --max-requests and a jitter, no more requests are lost than without wsgi_async."""
    options = ("--workers", "2", "--max-requests", "100", "--max-requests-jitter", "50")
    assert lost(recycle, kind, APP, *options) <= lost(recycle, "gthread", PLAIN, *options)


@threaded
def test_reload(kind: str) -> None:
    """SIGHUP loses no more requests than without wsgi_async."""
    options = ("--workers", "2")
    assert lost(reload, kind, APP, *options) <= lost(reload, "gthread", PLAIN, *options)


@threaded
def test_stop(kind: str) -> None:
    """SIGTERM loses no request that has reached the application.

    What waits for its turn when gunicorn closes the socket is gunicorn's loss.
    """
    with serve(kind, "--workers", "2", threads=4) as server:
        with Load(server) as load:
            load.wait_for(50)
            server.signal(signal.SIGTERM)
            assert server.wait() == 0
        load.assert_answered()
        assert_clean(server)


@threaded
def test_forks(kind: str) -> None:
    """Threads answer while another one forks, and every child has an answer too."""
    with serve(kind, threads=4) as server, Load(server) as load, ThreadPoolExecutor(2) as forking:
        logged = Logged(server)
        answers = forking.map(lambda _: outcome(lambda: server.request("/fork")), range(20))
        assert set(answers) == {"200 of the child and the parent"}
        load.wait_for(50)
        assert load.lost == {}
        logged.assert_says([])
