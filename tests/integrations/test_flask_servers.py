from __future__ import annotations

import contextlib
import signal
from typing import TYPE_CHECKING

import pytest

from tests.integrations.upstream_server import counting_server
from tests.servers.process import Caller, Server, assert_clean, gunicorn

if TYPE_CHECKING:
    from collections.abc import Iterator

APP = "tests.integrations.flask_apps:app"


@pytest.fixture(
    scope="module", params=["gthread", "wsgi_async.integrations.gunicorn.LoopThreadWorker"]
)
def one_thread(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A gunicorn with one worker thread, which ends without a complaint."""
    with gunicorn(APP, "--threads", "1", worker_class=request.param) as server:
        yield server
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        assert_clean(server)


@pytest.mark.gunicorn
def test_async_views_of_one_worker_thread_share_its_loop(one_thread: Server) -> None:
    """An async view runs on the same thread and loop each time."""
    seen = [one_thread.get("/where") for _ in range(4)]
    assert seen == [seen[0]] * 4


@pytest.mark.gunicorn
def test_a_connection_stays_open_from_one_async_view_to_the_next(one_thread: Server) -> None:
    """Five requests that each ask another server take one connection to it."""
    with counting_server() as (url, connections):
        answers = [one_thread.request(f"/fetch?url={url}")[1] for _ in range(5)]
        assert answers == [b"ok"] * 5
        assert len(connections) == 1


@pytest.mark.gunicorn
def test_a_task_that_a_view_leaves_behind_goes_on(one_thread: Server) -> None:
    """A task made with asyncio's own means is alive after the response, and done later."""
    with Caller() as caller:
        one_thread.get(f"/call_back?port={caller.port}")
        caller.accept()
        assert caller.hear() == "hello"
        caller.say("news")
        assert caller.hear() == "you said news"
        assert one_thread.get("/outcome") == {"heard": "news"}


@pytest.mark.gunicorn
def test_a_client_that_goes_away_ends_the_stream(one_thread: Server) -> None:
    """The generator's `finally` runs with its request, and then the teardown function."""
    with contextlib.closing(one_thread.send("/endless")) as connection:
        assert connection.getresponse().read(9) == b"/endless "
    one_thread.wait_for("generator closed on /endless with a seat")
    one_thread.wait_for("teardown of /endless, loop True")
    closed, over = (one_thread.log.index(f"{what} /endless") for what in ("closed on", "down of"))
    assert closed < over


def test_the_development_server_keeps_connections_open() -> None:
    """`flask run` starts a thread for each request; with `reuse=True` loops outlive those."""
    run = ("-m", "flask", "--app", APP, "run", "--port", "0")
    with (
        Server(*run, REUSE="1").ready(r"Running on http://127\.0\.0\.1:(\d+)") as server,
        counting_server() as (url, connections),
    ):
        for _ in range(20):
            assert server.request(f"/fetch?url={url}")[1] == b"ok"
        # Not just one: the next request may come before the last one's thread has ended.
        assert len(connections) < 10
