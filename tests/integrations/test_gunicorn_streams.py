"""gunicorn's end with streams open: they end in time, and their cleanup runs."""

from __future__ import annotations

import contextlib
import signal
import time
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.servers.process import (
    LOOP_THREAD_WORKER,
    Caller,
    Server,
    assert_clean,
    change_until,
    gunicorn,
    polls,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from http.client import HTTPResponse
    from pathlib import Path

pytestmark = pytest.mark.gunicorn

APP = "tests.integrations.gunicorn_apps:streams"
HOOKS = "python:tests.integrations.gunicorn_conf"


class Worker(NamedTuple):
    """A worker class, and what it needs to end streams."""

    name: str
    options: tuple[str, ...]

    def serve(self, *options: str) -> Server:
        return gunicorn(APP, *self.options, *options, worker_class=self.name)


OURS = Worker(LOOP_THREAD_WORKER, ("--threads", "3"))
GTHREAD = Worker("gthread", ("--threads", "3", "--config", HOOKS))
SYNC = Worker("sync", ("--config", HOOKS))
threaded = pytest.mark.parametrize("worker", [OURS, GTHREAD], ids=["LoopThreadWorker", "gthread"])
every = pytest.mark.parametrize(
    "worker", [OURS, GTHREAD, SYNC], ids=["LoopThreadWorker", "gthread", "sync"]
)


@contextlib.contextmanager
def stream(server: Server, path: str) -> Iterator[HTTPResponse]:
    """A stream that has begun."""
    with contextlib.closing(server.send(path)) as connection:
        response = connection.getresponse()
        assert response.status == 200
        yield response


def ended_in_order(server: Server, response: HTTPResponse, kind: str) -> bytes:
    """The rest of a stream, whose end the client sees as one, and whose cleanup has run."""
    rest = response.read()  # raises if the connection breaks off in the middle
    server.wait_for(f"{kind} stream closed")
    return rest


def assert_ended_in_order(server: Server) -> None:
    """Fail if a worker was killed, or if something on a loop was not closed."""
    assert_all_closed(server)
    assert_clean(server)


def assert_all_closed(server: Server) -> None:
    assert server.wait() == 0
    assert not server.find("was sent SIG")
    opened = {found[1] for found in server.find(r"opened (pid=.*)")}
    assert opened
    assert opened == {found[1] for found in server.find(r"closed (pid=.*)")}


# -- SIGTERM -------------------------------------------------------------------------------------


@every
@pytest.mark.parametrize("kind", ["silent", "ticking", "ticking?prefetch=5"])
def test_a_stream_without_an_end_ends_at_sigterm_within_the_graceful_timeout(
    worker: Worker, kind: str
) -> None:
    """It goes on for half of that time, and the worker is not killed in the middle of it."""
    with worker.serve("--graceful-timeout", "6") as server:
        with stream(server, f"/{kind}") as response:
            response.read(4)
            server.signal(signal.SIGTERM)
            began = time.monotonic()
            ended_in_order(server, response, kind.partition("?")[0])
            assert 2.0 < time.monotonic() - began < 6.0
        assert_ended_in_order(server)


@threaded
def test_many_streams_of_one_worker_all_end(worker: Worker) -> None:
    """Whatever each of them is waiting for."""
    with worker.serve("--graceful-timeout", "3") as server:
        with (
            stream(server, "/silent") as first,
            stream(server, "/ticking") as second,
            stream(server, "/silent") as third,
        ):
            server.signal(signal.SIGTERM)
            assert ended_in_order(server, first, "silent") == b"one "
            assert ended_in_order(server, second, "ticking").count(b"tick") > 10
            assert ended_in_order(server, third, "silent") == b"one "
        assert_ended_in_order(server)
        assert len(server.find("silent stream closed")) == 2


@every
def test_a_stream_with_an_end_reaches_it_after_sigterm(worker: Worker) -> None:
    """A download is not cut short for a deployment, as long as it ends in time."""
    with (
        worker.serve("--graceful-timeout", "40") as server,
        Caller() as caller,
        contextlib.closing(server.send(f"/told?port={caller.port}")) as connection,
    ):
        caller.accept()
        caller.say("before")
        response = connection.getresponse()
        assert response.read(7) == b"before\n"
        server.signal(signal.SIGTERM)
        server.wait_for("Handling signal: term")
        caller.say("after")
        caller.hang_up()
        assert ended_in_order(server, response, "told") == b"after\n"
        connection.close()
        assert_ended_in_order(server)


# -- the other ways to end ---------------------------------------------------------------------


@every
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_a_stream_ends_at_once_when_gunicorn_is_to_end_at_once(
    worker: Worker, number: signal.Signals
) -> None:
    """Ctrl-C does not wait for streams, and their cleanup runs all the same."""
    with worker.serve("--graceful-timeout", "20") as server, stream(server, "/silent") as response:
        assert response.read(4) == b"one "
        began = time.monotonic()
        server.signal(number)
        server.wait_for("silent stream closed")
        assert_all_closed(server)
        assert time.monotonic() - began < 5.0
        if worker is not SYNC:  # gunicorn raises SystemExit in the middle of its request
            assert_clean(server)
        if worker is not OURS:
            server.wait_for("worker_int of the project")


@threaded
def test_a_stream_does_not_keep_a_recycled_worker(worker: Worker) -> None:
    """After --max-requests the old worker's streams end, and the next worker serves."""
    with worker.serve("--max-requests", "2", "--graceful-timeout", "3") as server:
        with stream(server, "/silent") as response:
            old = server.get("/where")["pid"]
            ended_in_order(server, response, "silent")
        assert server.get("/where")["pid"] != old
        server.signal(signal.SIGTERM)
        assert_ended_in_order(server)


def test_the_last_stream_of_a_sync_worker_ends_too() -> None:
    """A worker with one thread is recycled although its last request has no end."""
    with SYNC.serve("--max-requests", "2", "--graceful-timeout", "2") as server:
        old = server.get("/where")["pid"]
        with stream(server, "/silent") as response:
            ended_in_order(server, response, "silent")
        assert server.get("/where")["pid"] != old
        server.signal(signal.SIGTERM)
        assert_ended_in_order(server)


@threaded
def test_a_stream_does_not_hold_up_a_reload(worker: Worker, tmp_path: Path) -> None:
    """With --reload nobody waits for a stream: it ends at once."""
    watched = tmp_path / "watched.txt"
    watched.write_text("one")
    with worker.serve("--graceful-timeout", "40", *polls(watched)) as server:
        old = server.get("/where")["pid"]
        with stream(server, "/silent") as response:
            change_until(server, watched, "Worker reloading")
            began = time.monotonic()
            ended_in_order(server, response, "silent")
            assert time.monotonic() - began < 10.0
        server.wait_for(f"Worker exiting .pid: {old}")
        assert server.get("/where")["pid"] != old
        server.signal(signal.SIGTERM)
        assert_ended_in_order(server)


# -- together ------------------------------------------------------------------------------------


def test_the_hook_does_no_harm_beside_our_own_worker() -> None:
    """A project that changes its worker class may leave the hook where it is."""
    with OURS.serve("--config", HOOKS, "--graceful-timeout", "3") as server:
        with stream(server, "/silent") as response:
            server.signal(signal.SIGTERM)
            began = time.monotonic()
            assert ended_in_order(server, response, "silent") == b"one "
            assert time.monotonic() - began > 1.0
        assert_ended_in_order(server)
