"""gunicorn's threaded worker: it leaves with everything cleaned up, and stays when a view fails."""

from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from http.client import HTTPException
from typing import TYPE_CHECKING

import pytest

from tests.servers.process import Server, assert_clean, gunicorn, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from http.client import HTTPResponse
    from pathlib import Path

pytestmark = pytest.mark.gunicorn

APPS = {
    "plain": "tests.edges.apps:app",
    "Flask": "tests.edges.apps:flask",
    "Django": "tests.edges.django_wsgi:application",
}

GRACEFUL = 8
"""Seconds that gunicorn gives a worker which leaves."""

HOOK = "from wsgi_async.integrations.gunicorn import post_worker_init\n"


def serve(app: str, *options: str) -> Server:
    return gunicorn(APPS[app], *options, DJANGO_SETTINGS_MODULE="tests.edges.django_site")


def read_on(response: HTTPResponse) -> bytes:
    """Read a stream to its end, which has to be a proper one."""
    return response.read()


@pytest.mark.parametrize(
    ("app", "paths"),
    [
        ("plain", ["/iterate"]),
        ("plain", ["/prefetch"]),
        ("plain", ["/generator"]),
        ("plain", ["/iterate", "/prefetch", "/iterate"]),
        ("Flask", ["/iterate", "/prefetch"]),
        ("Django", ["/iterate"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "+".join(value),
)
def test_endless_streams_end_when_the_worker_leaves(
    app: str, paths: list[str], tmp_path: Path
) -> None:
    """At SIGTERM open streams end at their next item, and all threads' cleanup has its time."""
    config = tmp_path / "gunicorn.conf.py"
    config.write_text(HOOK)
    threads = f"--threads={len(paths) + 1}"
    options = (threads, f"--graceful-timeout={GRACEFUL}", f"--config={config}")
    with (
        serve(app, *options) as server,
        ExitStack() as clients,
        ThreadPoolExecutor(len(paths)) as readers,
    ):
        reading = []
        for path in paths:
            response = clients.enter_context(closing(server.send(path))).getresponse()
            assert response.read(2) == b"0\n"
            reading.append(readers.submit(read_on, response))
        server.get("/keep")  # on the one thread that is left
        told = time.monotonic()
        server.signal(signal.SIGTERM)
        for one in reading:
            assert one.result(GRACEFUL).endswith(b"\n")
        assert server.wait() == 0
        assert time.monotonic() - told < GRACEFUL
        assert len(server.find("stream cleaned up")) == len(paths)
        assert len(server.find("task cleaned up")) == 1
        assert len(server.find("resource closed")) == 1
        assert_clean(server)


def test_a_stream_that_begins_after_the_signal_ends_too(tmp_path: Path) -> None:
    """A request that was accepted before the signal, and streams after it, keeps nobody waiting."""
    config = tmp_path / "gunicorn.conf.py"
    config.write_text(HOOK)
    options = ("--threads=1", f"--graceful-timeout={GRACEFUL}", f"--config={config}")
    with serve("plain", *options) as server, closing(server.send("/iterate")) as first:
        assert first.getresponse().read(2) == b"0\n"
        with closing(server.send("/iterate")) as second:  # waits for the thread
            server.signal(signal.SIGTERM)
            told = time.monotonic()
            first.close()
            try:
                with second.getresponse() as response:
                    response.read()
            except (HTTPException, OSError):
                pass  # gunicorn may have dropped it
            assert server.wait() == 0
            assert time.monotonic() - told < GRACEFUL
            assert_clean(server)


def test_the_hook_leaves_workers_of_another_kind_alone(tmp_path: Path) -> None:
    """A configuration that moves to an ASGI worker may keep it."""
    pytest.importorskip("fastapi", reason="fastapi is not installed")
    pytest.importorskip("gunicorn.workers.gasgi", reason="this gunicorn has no ASGI worker")
    config = tmp_path / "gunicorn.conf.py"
    config.write_text(HOOK)
    with gunicorn("tests.asgi.apps:app", f"--config={config}", worker_class="asgi") as server:
        assert server.get("/loop")
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        assert not server.find("Traceback")


def test_the_hook_leaves_gunicorn_as_it_is(tmp_path: Path) -> None:
    """Without open streams the worker serves, is replaced and ends as usual."""
    config = tmp_path / "gunicorn.conf.py"
    config.write_text(HOOK)
    with serve("plain", "--threads=2", "--max-requests=2", f"--config={config}") as server:
        old = server.get("/keep")["pid"]
        assert server.get("/where")["pid"] == old
        server.wait_for("task cleaned up")
        new = server.get("/where")["pid"]
        assert new != old
        server.signal(signal.SIGHUP)
        wait_until(lambda: server.get("/where")["pid"] != new, what="the worker is replaced")
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        assert_clean(server)


# -- cancellations ---------------------------------------------------------------------------------

ESCAPES = {
    "plain": ["/raise", "/run", "/first", "/second", "/close", "/stream"],
    "Flask": ["/raise", "/run", "/async"],
    "Django": ["/raise", "/run", "/async"],
}
"""Where a CancelledError comes out of an application."""


@pytest.fixture(scope="module")
def served(request: pytest.FixtureRequest) -> Iterator[Server]:
    """An application with one worker and one thread."""
    with serve(request.param, "--threads=1") as server:
        yield server


@pytest.mark.parametrize(
    ("served", "path"),
    [(app, path) for app, paths in ESCAPES.items() for path in paths],
    indirect=["served"],
)
def test_a_cancellation_does_not_end_the_worker(served: Server, path: str) -> None:
    """A CancelledError that a view lets out costs its own request, and the worker goes on."""
    pid = served.get("/where")["pid"]
    try:
        served.request(path)
    except (HTTPException, OSError):
        pass  # the response had begun
    assert served.get("/where")["pid"] == pid
