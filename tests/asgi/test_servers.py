"""Sync endpoints of real ASGI servers."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.servers.process import Server, assert_clean

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest.importorskip("uvicorn", reason="uvicorn is not installed")
pytest.importorskip("fastapi", reason="fastapi is not installed")


def uvicorn(app: str, **environment: str) -> Server:
    """A uvicorn that serves `module:application`, and is ready."""
    options = ["--port", "0", "--no-access-log", "--timeout-graceful-shutdown", "5"]
    server = Server("-m", "uvicorn", *options, app, **environment)
    return server.ready(r"running on http://127\.0\.0\.1:(\d+)")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with uvicorn("tests.asgi.apps:app") as running:
        yield running


def test_a_sync_endpoint_uses_the_servers_loop(server: Server) -> None:
    """run(), submit_task() and wsgi_async.run() of a thread run on the server's loop."""
    ways = server.get("/ways")
    loop = server.get("/loop")
    assert ways["found"] == [[loop, 1]] * 3
    assert ways["numbers"] == [0, 1, 2]
    assert "AnyIO" in ways["thread"]
    assert " guest " in ways["manager"]


def test_a_resource_is_opened_once_for_all_requests(server: Server) -> None:
    """A client stays open between the requests, whatever thread they run on."""
    assert [server.get("/ways")["found"][0][1] for _ in range(5)] == [1] * 5


def test_deadlines(server: Server) -> None:
    """A block's time limit and the middleware's end the waits of a sync endpoint."""
    block, request = server.get("/late")
    assert "did not end before the request's deadline" in block
    assert "did not end before the request's deadline" in request


def test_a_scopes_task_ends_with_the_request(server: Server) -> None:
    """What is submitted to the request's scope is canceled when the response is out."""
    before = len(server.find("task cleaned up"))
    assert server.get("/scoped") == "done"
    server.wait_for("task cleaned up", count=before + 1)


def test_a_sync_stream(server: Server) -> None:
    """A sync streaming response iterates over an async generator."""
    assert server.request("/stream")[1] == b"0\n1\n2\n"


def test_the_log_names_the_request(server: Server) -> None:
    """A failed background task is logged with the method and path that it came from."""
    server.get("/failed")
    server.wait_for(r"fail \(GET /failed\) was never retrieved")


def test_the_end_of_the_lifespan_ends_the_manager() -> None:
    """At a SIGTERM on_stop is called, tasks clean up, and resources are closed, in this order."""
    with uvicorn("tests.asgi.apps:app") as server:
        server.wait_for("started")
        server.get("/ways")
        server.get("/kept")
        server.wait_for("task begun")
        server.signal(signal.SIGTERM)
        assert server.wait() in (0, -signal.SIGTERM)
        lines = server.log.splitlines()
        order = [lines.index(line) for line in ("stopping", "task cleaned up", "client closed")]
        assert order == sorted(order)
        assert_clean(server)


def test_without_a_lifespan_the_loops_end_ends_the_manager() -> None:
    """Where the server has no lifespan, Ctrl-C cancels the tasks with the loop, and at once."""
    with uvicorn("tests.asgi.apps:app", UVICORN_LIFESPAN="off") as server:
        server.get("/ways")
        server.get("/kept")
        server.wait_for("started")
        server.signal(signal.SIGINT)
        assert server.wait() in (0, 130, -signal.SIGINT)
        assert server.find("task cleaned up")


def test_django() -> None:
    """A sync view runs coroutines on the server's loop, and their sync code in its thread."""
    site = "tests.asgi.django_site"
    with uvicorn(f"{site}:application", DJANGO_SETTINGS_MODULE=site) as server:
        loop = server.get("/async")["loop"]
        assert server.get("/sync") == {"loops": [loop, loop], "same thread": True}
