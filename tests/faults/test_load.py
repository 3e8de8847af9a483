"""Reloading, recycling, stopping and forking while clients ask without a pause.

Each is tried without wsgi_async too: what a plain gunicorn loses is its own.
"""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING

import pytest

from tests.faults.load import Load
from tests.faults.serving import APP, Logged, outcome, serve
from tests.servers.process import assert_clean

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.servers.process import Server

pytestmark = [pytest.mark.gunicorn, pytest.mark.slow]

PLAIN = "tests.faults.served:unwrapped"

threaded = pytest.mark.parametrize("kind", ["gthread", "LoopThreadWorker"])


RECYCLED = ("--workers", "2", "--max-requests", "60", "--max-requests-jitter", "30")


def lost(kind: str, app: str, disturb: Callable[[Server, Load], None], *options: str) -> int:
    """How many requests are lost on their way into an application while it is disturbed."""
    with serve(kind, *options, app=app, threads=4) as server:
        with Load(server) as load:
            load.wait_for(50)
            disturb(server, load)
            load.wait_for(50)
        load.assert_answered()
        assert_clean(server)
        return len(load.lost)


@cache
def lost_by_gunicorn(disturb: Callable[[Server, Load], None], *options: str) -> int:
    """The same without wsgi_async."""
    return lost("gthread", PLAIN, disturb, *options)


def recycle(server: Server, load: Load) -> None:
    """Wait for three workers that have had enough, and for the end of the first."""
    server.wait_for("Autorestarting worker after current request", count=3)
    server.wait_for("Worker exiting")


def reload(server: Server, load: Load) -> None:
    """Have both workers replaced."""
    server.signal(signal.SIGHUP)
    server.wait_for("Booting worker with pid", count=4)
    server.wait_for("Worker exiting", count=2)


@threaded
def test_recycling(kind: str) -> None:
    """With --max-requests and a jitter, no more requests are lost than without wsgi_async."""
    assert lost(kind, APP, recycle, *RECYCLED) <= lost_by_gunicorn(recycle, *RECYCLED)


@threaded
def test_reload(kind: str) -> None:
    """SIGHUP loses no more requests than without wsgi_async."""
    assert lost(kind, APP, reload, "--workers", "2") <= lost_by_gunicorn(reload, "--workers", "2")


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
