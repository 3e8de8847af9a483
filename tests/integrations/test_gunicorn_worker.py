"""`LoopThreadWorker`: gunicorn with loops that live on its worker threads."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.servers.process import (
    LIMIT,
    LOOP_THREAD_WORKER,
    Caller,
    Server,
    assert_clean,
    change_until,
    gunicorn,
    polls,
    wait_until,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

pytestmark = pytest.mark.gunicorn

APP = "tests.integrations.gunicorn_apps:app"
HOOKS = "python:tests.integrations.gunicorn_conf"

needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="only Linux has it")
serve = partial(gunicorn, worker_class=LOOP_THREAD_WORKER)


def all_at_once(server: Server, paths: Iterable[str]) -> list[dict[str, Any]]:
    """The answers to requests that are sent at the same time."""
    paths = list(paths)
    with ThreadPoolExecutor(len(paths)) as clients:
        return list(clients.map(server.get, paths))


def end(server: Server) -> None:
    """End it with SIGTERM; it ends in order and without a complaint."""
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    assert_clean(server)


# -- where things run --------------------------------------------------------------------------


def test_a_request_and_its_coroutines_run_on_one_thread_and_there_is_no_other() -> None:
    """Four worker threads with a loop each are four threads, beside the main one."""
    with serve(APP, "--threads", "4") as server:
        answers = all_at_once(server, ["/threads?at=once&parties=4"] * 4)
        for answer in answers:
            assert answer["thread"] == answer["ran_on"]
        assert len({answer["thread"] for answer in answers}) == 4
        assert server.get("/threads?at=later&parties=1")["names"] == [
            "MainThread",
            *(f"gunicorn_{number}" for number in range(4)),
        ]
        end(server)


def test_an_async_view_of_flask_runs_on_the_worker_thread_and_keeps_its_loop() -> None:
    """The integrations of frameworks use the thread's own loop."""
    with serve("tests.integrations.flask_apps:app", "--threads", "1") as server:
        seen = [server.get("/where") for _ in range(3)]
        assert seen == [seen[0]] * 3
        pid = server.wait_for(r"Booting worker with pid: (\d+)")[1]
        tasks = Path(f"/proc/{pid}/task")
        if tasks.is_dir():  # Linux
            assert len(list(tasks.iterdir())) == 2
        end(server)


def test_uvloop_is_used_when_the_middleware_says_so() -> None:
    """The middleware's options are those of the loops on the worker threads."""
    pytest.importorskip("uvloop")
    app = "tests.integrations.gunicorn_apps:on_uvloop"
    with serve(app, "--threads", "1") as server, Caller() as caller:
        answer = server.get("/shared?at=once&parties=1")
        assert answer["loop_class"] == "uvloop"
        assert answer["thread"] == answer["ran_on"]
        server.get(f"/call_back?port={caller.port}")
        caller.accept()
        assert caller.hear() == "hello"
        caller.say("news")
        assert caller.hear() == "you said news"
        assert server.get("/work?number=3") == {"number": 3, "later": 3, "n": [3, 4, 5]}
        end(server)
        assert server.find(f"closed pid={answer['pid']} thread={answer['thread']}")


@pytest.mark.parametrize(
    "options",
    [
        ("--worker-class", LOOP_THREAD_WORKER),
        ("--worker-class", LOOP_THREAD_WORKER, "--preload"),
        ("--worker-class", "gthread", "--preload"),
    ],
    ids=["LoopThreadWorker", "LoopThreadWorker preload", "gthread preload"],
)
def test_one_loop_for_the_process_is_made_in_each_worker_and_ended_with_it(
    options: tuple[str, ...],
) -> None:
    """With per="process" a worker's threads share a client, on a loop with a thread of its own."""
    app = "tests.integrations.gunicorn_apps:per_process"
    with gunicorn(app, "--threads", "3", *options) as server:
        answers = all_at_once(server, ["/shared?at=once&parties=3"] * 3)
        assert len({answer["thread"] for answer in answers}) == 3
        for key in ("manager", "client", "ran_on"):
            assert len({answer[key] for answer in answers}) == 1, key
        assert answers[0]["ran_on"] not in {answer["thread"] for answer in answers}
        server.signal(signal.SIGHUP)  # the next worker makes its own
        old, thread = answers[0]["pid"], answers[0]["ran_on"]
        server.wait_for(f"closed pid={old} thread={thread}")
        new = server.get("/shared?at=later&parties=1")
        assert new["pid"] not in {old, server.pid}
        end(server)
        assert server.find(f"closed pid={new['pid']} thread={new['ran_on']}")


# -- what lasts, and how it ends ---------------------------------------------------------------


@pytest.mark.parametrize("options", [(), ("--preload",)], ids=["plain", "preload"])
def test_resources_are_open_from_request_to_request_and_closed_at_sigterm(
    options: tuple[str, ...],
) -> None:
    """Each thread's is opened once, and closed on that thread before the worker has ended."""
    with serve(APP, "--threads", "2", "--config", HOOKS, *options) as server:
        for _ in range(3):
            all_at_once(server, ["/use"] * 4)
        opened = [found[1] for found in server.find(r"opened (pid=\d+ thread=\d+)")]
        assert len(opened) == len(set(opened)) <= 2
        end(server)
        for sign in ("closed", "disconnected"):
            assert sorted(found[1] for found in server.find(rf"^{sign} (pid=.*)")) == sorted(opened)
        assert server.find("worker_exit pid=.* managers=0")


def test_what_the_process_shares_is_closed_where_threads_can_still_be_started() -> None:
    """It is after the project's own hook, which may use it, and before the interpreter ends."""
    app = "tests.integrations.gunicorn_apps:per_process"
    with serve(app, "--threads", "2", "--config", HOOKS) as server:
        pid = server.get("/use")["pid"]
        end(server)
        order = [server.log.index(f"{what}pid={pid}") for what in ("worker_exit ", "closed ")]
        assert order == sorted(order)
        assert server.find(f"worker_exit pid={pid} managers=1")
        assert server.find(f"disconnected pid={pid}")


def test_a_worker_that_has_served_its_requests_closes_all_and_the_next_one_serves() -> None:
    """--max-requests with a jitter: no request is lost, no resource stays open."""
    options = ("--threads", "2", "--max-requests", "10", "--max-requests-jitter", "5")
    with serve(APP, *options) as server:
        served: Counter[int] = Counter()
        while len(served) < 4:
            served[server.get("/use")["pid"]] += 1
        for pid, requests in list(served.items())[:-1]:
            assert 10 <= requests <= 15 + 1  # one may come before the last one's end is seen
            server.wait_for(f"Worker exiting .pid: {pid}")
            opened = server.find(rf"opened (pid={pid} .*)")
            closed = server.find(rf"closed (pid={pid} .*)")
            assert {one[1] for one in opened} == {one[1] for one in closed}
        end(server)


def test_a_request_that_outlives_the_graceful_timeout_gets_its_answer() -> None:
    """A recycled worker waits for it as under gthread, and closes that thread's loop after it."""
    options = ("--threads", "2", "--max-requests", "2", "--graceful-timeout", "1")
    with serve(APP, *options) as server, Caller() as caller:
        waiting = server.send(f"/talk_now?port={caller.port}")
        caller.accept()
        other = server.get("/use")
        server.wait_for(f"closed pid={other['pid']}")  # so gunicorn waits no more
        assert caller.hear() == "hello"
        caller.say("finish")
        response = waiting.getresponse()
        assert (response.status, json.loads(response.read())) == (200, {"heard": "finish"})
        waiting.close()
        assert server.get("/use")["pid"] != other["pid"]
        end(server)


def test_a_changed_file_ends_the_old_worker_in_order(tmp_path: Path) -> None:
    """--reload: what was open is closed, and the new worker serves."""
    watched = tmp_path / "watched.txt"
    watched.write_text("one")
    with serve(APP, "--threads", "1", *polls(watched)) as server:
        old = server.get("/use")
        change_until(server, watched, f"closed pid={old['pid']} thread={old['thread']}")
        assert server.get("/use")["pid"] != old["pid"]
        end(server)


# -- connections -------------------------------------------------------------------------------


def test_background_work_goes_on_between_the_requests_of_a_kept_connection() -> None:
    """--keep-alive: a connection serves request after request, and is closed when it has waited."""
    with serve(APP, "--threads", "1", "--keep-alive", "1") as server, Caller() as caller:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=LIMIT)
        with contextlib.closing(connection):
            for path in (f"/call_back?port={caller.port}", "/where", "/where"):
                connection.request("GET", path)
                assert connection.getresponse().read()
                kept = connection.sock
                assert kept is not None
            caller.accept()
            assert caller.hear() == "hello"
            caller.say("news")
            assert caller.hear() == "you said news"
            assert kept.recv(1) == b""  # closed by the server
        assert server.get("/outcome")["heard"] == "news"
        end(server)


@needs_proc
def test_a_connection_that_sends_nothing_does_not_hold_up_background_work() -> None:
    """Browsers open connections in advance; the thread that waits for one goes on with its loop."""
    with serve(APP, "--threads", "1") as server, Caller() as caller:
        server.get(f"/call_back?port={caller.port}")
        caller.accept()
        assert caller.hear() == "hello"
        pid = server.get("/use")["pid"]
        before = descriptors(pid)
        with contextlib.ExitStack() as silent:
            for _ in range(4):
                silent.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            # Two more than those that are still being closed.
            wait_until(lambda: descriptors(pid) > before + 1, what="they are accepted")
            began = time.monotonic()
            caller.say("news")
            assert caller.hear() == "you said news"
            assert time.monotonic() - began < 4.0  # gunicorn waits for each for five seconds
        assert server.get("/outcome")["heard"] == "news"
        end(server)


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


# -- load --------------------------------------------------------------------------------------


def check_work(server: Server, number: int, connection: http.client.HTTPConnection) -> None:
    connection.request("GET", f"/work?number={number}")
    response = connection.getresponse()
    expected = {"number": number, "later": number, "n": [number, number + 1, number + 2]}
    assert (response.status, json.loads(response.read())) == (200, expected)


def test_under_load_each_of_many_requests_gets_its_own_answer() -> None:
    """Eight threads, sixteen clients: nothing is lost, and nothing is mixed up."""
    with serve(APP, "--threads", "8") as server:

        def ask(client: int) -> None:
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=LIMIT)
            with contextlib.closing(connection):
                for number in range(50):
                    check_work(server, 1000 * client + number, connection)

        with ThreadPoolExecutor(16) as clients:
            list(clients.map(ask, range(16)))
        end(server)


def test_under_load_no_request_is_lost_while_workers_are_recycled() -> None:
    """Two workers that end after about a hundred requests each serve eight clients."""
    options = ("--workers", "2", "--max-requests", "100", "--max-requests-jitter", "50")
    with serve(APP, "--threads", "4", *options) as server:

        def ask(client: int) -> None:
            for number in range(60):
                connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=LIMIT)
                with contextlib.closing(connection):
                    check_work(server, 1000 * client + number, connection)

        with ThreadPoolExecutor(8) as clients:
            list(clients.map(ask, range(8)))
        server.wait_for("Autorestarting worker after current request", count=2)
        end(server)


def test_background_work_goes_on_while_requests_queue_up() -> None:
    """The one thread always has a next request, whose view does not use the loop."""
    with serve(APP, "--threads", "1") as server, Caller() as caller:
        server.get(f"/call_back?port={caller.port}")
        caller.accept()
        enough = threading.Event()

        def ask(_: int) -> None:
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=LIMIT)
            with contextlib.closing(connection):
                while not enough.is_set():
                    connection.request("GET", "/compute?seconds=0.01")
                    connection.getresponse().read()

        with ThreadPoolExecutor(8) as clients:
            asking = clients.map(ask, range(8))
            try:
                assert caller.hear() == "hello"
                caller.say("news")
                assert caller.hear() == "you said news"
            finally:
                enough.set()
            list(asking)
        end(server)


def test_a_view_that_computes_for_seconds_holds_up_its_own_thread_alone() -> None:
    """Other threads answer meanwhile; its own background work goes on after it."""
    with serve(APP, "--threads", "2") as server, Caller() as caller:
        talking = server.get(f"/call_back?port={caller.port}")["thread"]
        caller.accept()
        assert caller.hear() == "hello"
        server.get("/use")
        with ThreadPoolExecutor(1) as clients:
            computing = clients.submit(server.get, "/compute?seconds=2")
            server.wait_for("computing")
            began = time.monotonic()
            others = {server.get("/where")["thread"] for _ in range(5)}
            assert time.monotonic() - began < 1.5
            caller.say("news")
            busy = computing.result()["thread"]
        assert others.isdisjoint({busy})
        assert talking in {busy, *others}
        assert caller.hear() == "you said news"
        end(server)
