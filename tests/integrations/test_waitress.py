"""waitress with loops that live on its worker threads."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from tests.core.support import LIMIT, reached
from tests.servers.process import Caller, Server, assert_clean
from wsgi_async import AsyncioLoopManager
from wsgi_async.core.actors.leaving import time_to_end_of_all

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

pytest.importorskip("waitress")

from wsgi_async.integrations.waitress import LoopThreadDispatcher

READY = r"Serving on http://127\.0\.0\.1:(\d+)"
SERVE = """
import logging
from tests.integrations import gunicorn_apps
from wsgi_async.integrations.waitress import serve
logging.getLogger("waitress").setLevel(logging.INFO)
serve(getattr(gunicorn_apps, {app!r}), {options})
"""


def served(app: str = "app", options: str = "threads=3", listen: str = "127.0.0.1:0") -> Server:
    code = SERVE.format(app=app, options=f"listen={listen!r}, {options}")
    return Server("-c", code).ready(READY)


def all_at_once(server: Server, paths: Iterable[str]) -> list[dict[str, Any]]:
    """The answers to requests that are sent at the same time."""
    paths = list(paths)
    with ThreadPoolExecutor(len(paths)) as clients:
        return list(clients.map(server.get, paths))


def end(server: Server) -> None:
    """End it with SIGINT; it ends in order and without a complaint."""
    server.signal(signal.SIGINT)
    assert server.wait() == 0
    assert_clean(server)


def test_a_request_and_its_coroutines_run_on_one_thread_and_there_is_no_other() -> None:
    """Three worker threads with a loop each are three threads, beside the main one."""
    with served() as server:
        answers = all_at_once(server, ["/threads?at=once&parties=3"] * 3)
        for answer in answers:
            assert answer["thread"] == answer["ran_on"]
        assert len({answer["thread"] for answer in answers}) == 3
        assert server.get("/threads?at=later&parties=1")["names"] == [
            "MainThread",
            *(f"waitress_{number}" for number in range(3)),
        ]
        end(server)


def test_several_addresses_are_served_by_the_same_threads() -> None:
    """waitress makes a server for each of them; the number of threads is that of all."""
    with served(options="threads=1", listen="127.0.0.1:0 127.0.0.1:0") as server:
        server.wait_for(READY, count=2)
        first, second = (int(found[1]) for found in server.find(READY))
        assert server.port == first != second
        thread = server.get("/use")["thread"]
        server.port = second
        assert server.get("/use")["thread"] == thread
        end(server)


def test_what_is_open_stays_so_between_requests_and_is_closed_at_the_end() -> None:
    """SIGINT ends background work and closes resources, where threads can still be started."""
    with served() as server, Caller() as caller:
        server.get(f"/call_back?port={caller.port}")
        caller.accept()
        assert caller.hear() == "hello"
        caller.say("news")
        assert caller.hear() == "you said news"
        for _ in range(3):
            all_at_once(server, ["/use"] * 4)
        server.get("/keep")
        opened = sorted(found[1] for found in server.find(r"opened (pid=\d+ thread=\d+)"))
        assert len(opened) == len(set(opened)) <= 3
        end(server)
        for sign in ("closed", "disconnected"):
            assert sorted(found[1] for found in server.find(rf"^{sign} (pid=.*)")) == opened
        assert server.find("cleaned up pid=")


def test_a_stream_without_an_end_does_not_hold_up_the_servers() -> None:
    """It ends, and its cleanup has run."""
    with served("streams") as server, contextlib.closing(server.send("/silent")) as connection:
        assert connection.getresponse().read(4) == b"one "
        began = time.monotonic()
        end(server)
        assert time.monotonic() - began < 4.0  # waitress gives its threads five seconds
        assert server.find("silent stream closed")
        assert server.find("^closed pid=")


def test_streams_go_on_after_a_server_has_stopped() -> None:
    """A process may have another server, or iterate itself, once its threads have ended."""
    dispatcher, began, go = LoopThreadDispatcher(1), threading.Event(), threading.Event()

    def wait() -> None:
        began.set()
        go.wait(LIMIT)

    dispatcher.add_task(SimpleNamespace(service=wait))
    reached(began)
    dispatcher.shutdown(timeout=0.01)
    assert time_to_end_of_all()  # a thread still runs, perhaps in a stream
    go.set()
    dispatcher.shutdown()

    async def numbers() -> AsyncIterator[int]:
        for number in range(3):
            yield number

    assert not time_to_end_of_all()
    with AsyncioLoopManager() as manager:
        assert list(manager.iterate(numbers())) == [0, 1, 2]


def test_requests_that_must_wait_are_told_of_and_dropped_at_the_end() -> None:
    """The queue's log has what waitress writes there, and the end does not serve them all."""
    with served(options="threads=1") as server, Caller() as caller:
        server.get("/where")
        assert not server.find("Task queue depth")
        first = server.send(f"/talk_now?port={caller.port}")
        caller.accept()
        waiting = [server.send("/use") for _ in range(2)]
        server.wait_for("Task queue depth is 2")
        server.signal(signal.SIGINT)
        server.wait_for("Canceling 2 pending")
        assert caller.hear() == "hello"
        caller.say("finish")
        assert server.wait() == 0
        for connection in (first, *waiting):
            connection.close()
        assert not server.find("opened")
        assert_clean(server)


def test_under_load_each_of_many_requests_gets_its_own_answer() -> None:
    """Nothing is lost, and nothing is mixed up."""
    with served(options="threads=8") as server:

        def ask(number: int) -> None:
            expected = {"number": number, "later": number, "n": [number, number + 1, number + 2]}
            assert server.get(f"/work?number={number}") == expected

        with ThreadPoolExecutor(16) as clients:
            list(clients.map(ask, range(400)))
        end(server)


def test_a_request_whose_thread_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """As with waitress' own threads; the next request is served."""
    served: list[str] = []

    def fail() -> None:
        raise LookupError("of the task")

    dispatcher = LoopThreadDispatcher(1)
    dispatcher.add_task(SimpleNamespace(service=fail))
    dispatcher.add_task(SimpleNamespace(service=lambda: served.append("next")))
    dispatcher.shutdown(cancel_pending=False)
    assert served == ["next"]
    assert "Exception when servicing" in caplog.text
    assert "LookupError: of the task" in caplog.text
