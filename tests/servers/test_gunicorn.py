"""What is promised under gunicorn, with its own threaded worker and with ours."""

from __future__ import annotations

import json
import signal
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from tests.servers.process import THREADED, Caller, Server, assert_clean, gunicorn

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.gunicorn


@pytest.fixture(params=THREADED, ids=str)
def serve(request: pytest.FixtureRequest) -> Callable[..., Server]:
    """Starts a gunicorn with one of the threaded workers."""
    return partial(gunicorn, worker_class=THREADED[request.param])


def meet(server: Server, parties: int, at: str, path: str = "/meet") -> list[dict[str, Any]]:
    """As many requests at the same time as there are parties, each on a thread of its own."""
    with ThreadPoolExecutor(parties) as clients:
        return list(clients.map(server.get, [f"{path}?at={at}&parties={parties}"] * parties))


def test_requests_on_one_worker_thread_see_the_same_loop(serve: Callable[..., Server]) -> None:
    """A client that one request opened on the loop is usable in the next one."""
    with serve("tests.servers.apps:app", "--threads", "1") as server:
        seen = [server.get("/where") for _ in range(5)]
        assert seen[0]["loop"] == seen[0]["ran_on"]
        assert seen == [seen[0]] * 5
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        assert_clean(server)


def test_two_worker_threads_never_share_a_loop(serve: Callable[..., Server]) -> None:
    """Whatever thread answers, it is the only one that has its loop."""
    with serve("tests.servers.apps:app", "--threads", "4") as server:
        rounds = [meet(server, 4, str(number)) for number in range(5)]
        for answers in rounds:
            assert len({answer["thread"] for answer in answers}) == 4
            assert len({answer["loop"] for answer in answers}) == 4
        pairs = {(answer["thread"], answer["loop"]) for answers in rounds for answer in answers}
        assert len(pairs) == 4
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        assert_clean(server)


def test_background_work_goes_on_after_the_response_and_is_seen_done_later(
    serve: Callable[..., Server],
) -> None:
    """A view starts work and answers at once; it is done while no request runs."""
    with serve("tests.servers.apps:app", "--threads", "1") as server, Caller() as caller:
        first = server.get(f"/call_back?port={caller.port}")
        caller.accept()
        assert caller.hear() == "hello"
        caller.say("news")
        assert caller.hear() == "you said news"
        assert server.get("/outcome") == {"heard": "news", "thread": first["thread"]}


def test_worker_exit_ends_the_work_of_each_thread(serve: Callable[..., Server]) -> None:
    """On SIGTERM the `finally` of each thread's coroutine runs before the process is gone."""
    with serve("tests.servers.apps:app", "--threads", "3") as server:
        threads = {answer["thread"] for answer in meet(server, 3, "here")}
        kept: set[int] = set()
        while kept != threads:
            kept.add(server.get("/keep")["thread"])
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        cleaned = {int(found[1]) for found in server.find(r"cleaned up pid=\d+ thread=(\d+)")}
        assert cleaned == threads
        assert_clean(server)


def test_a_request_in_flight_at_sigterm_gets_its_answer(serve: Callable[..., Server]) -> None:
    """A deployment does not cut off a view that waits for its coroutine."""
    with serve("tests.servers.apps:app", "--threads", "1") as server, Caller() as caller:
        waiting = server.send(f"/talk_now?port={caller.port}")
        caller.accept()
        server.signal(signal.SIGTERM)
        server.wait_for(r"Handling signal: term")
        assert caller.hear() == "hello"
        caller.say("finish")
        response = waiting.getresponse()
        assert (response.status, json.loads(response.read())) == (200, {"heard": "finish"})
        waiting.close()
        assert server.wait() == 0
        assert_clean(server)


def test_max_requests_ends_the_old_workers_work_and_the_new_one_has_a_loop(
    serve: Callable[..., Server],
) -> None:
    """A recycled worker leaves nothing behind, and its successor serves."""
    with serve("tests.servers.apps:app", "--threads", "1", "--max-requests", "2") as server:
        old = server.get("/keep")["pid"]
        assert server.get("/where")["pid"] == old
        server.wait_for(rf"cleaned up pid={old} ")
        new = server.get("/where")
        assert new["pid"] != old
        assert new["loop"] == new["ran_on"]
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        assert_clean(server)


def test_reload_ends_the_old_workers_work_and_the_new_one_has_a_loop(
    serve: Callable[..., Server],
) -> None:
    """SIGHUP swaps the workers: the old one cleans up, the new one serves."""
    with serve("tests.servers.apps:app", "--threads", "1") as server:
        old = server.get("/keep")["pid"]
        server.signal(signal.SIGHUP)
        server.wait_for(rf"cleaned up pid={old} ")
        new = server.get("/where")
        assert new["pid"] != old
        assert new["loop"] == new["ran_on"]
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        assert_clean(server)


def test_a_worker_without_threads_has_a_loop_too() -> None:
    """The sync worker answers in its main thread, and cleans up as well."""
    with gunicorn("tests.servers.apps:app", worker_class="sync") as server:
        assert server.get("/where") == server.get("/where")
        pid = server.get("/keep")["pid"]
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        assert server.find(rf"cleaned up pid={pid} ")
        assert_clean(server)


def test_every_kind_of_body_reaches_the_client_as_it_would_unwrapped(
    serve: Callable[..., Server],
) -> None:
    """Headers and bytes are the same with and without the middleware."""
    kinds = ["list", "tuple", "sized", "sized2", "generator", "file", "write"]
    with (
        serve("tests.servers.apps:bodies") as bare,
        serve("tests.servers.apps:wrapped_bodies") as wrapped,
    ):
        for kind in kinds:
            answers = []
            for server in (bare, wrapped):
                response, body = server.request(f"/{kind}")
                headers = {name: text for name, text in response.getheaders() if name != "Date"}
                answers.append((response.status, headers, body))
            assert answers[0] == answers[1], kind
            assert answers[0][2], kind


def test_a_streaming_view_uses_the_loop_until_it_is_closed(serve: Callable[..., Server]) -> None:
    """Each piece of a stream, and its cleanup, runs a coroutine on the thread's loop."""
    with serve("tests.servers.apps:wrapped_stream", "--threads", "1") as server:
        _, body = server.request("/")
        loops = body.split()
        assert (len(loops), len(set(loops))) == (3, 1)
        server.wait_for("stream closed")
        assert_clean(server)


def test_a_client_that_goes_away_ends_the_work_of_its_request(serve: Callable[..., Server]) -> None:
    """The server closes the body of a broken connection, and the request's tasks clean up."""
    with serve("tests.servers.apps:wrapped_scoped", "--threads", "1") as server:
        connection = server.send("/")
        response = connection.getresponse()
        assert response.read(6) == b"piece "
        assert not server.find("cleaned up")
        response.close()
        connection.close()
        server.wait_for("cleaned up")
        assert_clean(server)


def test_a_requests_deadline_ends_its_waits_and_no_other_requests(
    serve: Callable[..., Server],
) -> None:
    """The view gets its TimeoutError, and the next request on the thread has all its time."""
    with serve("tests.servers.apps:app", "--threads", "1") as server:
        answer = server.get("/late")
        assert "the request's deadline" in answer["error"]
        assert server.get("/where")["thread"] == answer["thread"]
        assert_clean(server)
