"""`LoopThreadWorker`: a thread that has served a connection waits for its next request itself."""

from __future__ import annotations

import contextlib
import http.client
import signal
import socket
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.servers.process import (
    LIMIT,
    LOOP_THREAD_WORKER,
    Server,
    assert_clean,
    gunicorn,
    wait_until,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.gunicorn

APP = "tests.integrations.gunicorn_apps:app"
LONG = 60
"""Seconds that connections are kept; no test waits so long."""

serve = partial(
    gunicorn,
    APP,
    "--keep-alive",
    str(LONG),
    "--config",
    "python:tests.integrations.gunicorn_counting",
    worker_class=LOOP_THREAD_WORKER,
)


@contextlib.contextmanager
def connected(server: Server) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=LIMIT)
    with contextlib.closing(connection):
        yield connection


def get(connection: http.client.HTTPConnection, path: str = "/use") -> bytes:
    connection.request("GET", path)
    return connection.getresponse().read()


def test_requests_of_a_kept_connection_do_not_pass_through_the_main_thread() -> None:
    """The first hands the connection to a thread, which waits for those that follow."""
    with serve("--threads", "2") as server, connected(server) as connection:
        for _ in range(5):
            assert get(connection)
        # Its own first request, and one for each connection that asks whether the server is up.
        handed = len(server.find("handed to a thread"))
        for _ in range(20):
            assert get(connection)
        assert len(server.find("handed to a thread")) == handed


def test_a_thread_that_waits_for_a_connection_serves_another_one() -> None:
    """With one thread, requests on two kept connections are answered in turn, at once."""
    with serve("--threads", "1") as server, connected(server) as one, connected(server) as other:
        began = time.monotonic()
        for _ in range(5):
            assert get(one)
            assert get(other)
        assert time.monotonic() - began < LONG / 2


def test_two_requests_in_one_packet_are_both_answered() -> None:
    """What gunicorn has read ahead is no reason to wait for more."""
    request = b"GET /use HTTP/1.1\r\nHost: here\r\n\r\n"
    # Two: a thread with more connections than it can serve waits for none of them.
    with serve("--threads", "2") as server:
        server.get("/use")
        with socket.create_connection(("127.0.0.1", server.port), timeout=LIMIT) as sock:
            sock.sendall(request + request)
            answers = b""
            while answers.count(b"HTTP/1.1 200") < 2:
                answers += sock.recv(65536)
                assert answers


def test_a_client_that_leaves_frees_the_thread() -> None:
    """Its connection is closed here too, and the thread serves on."""
    with serve("--threads", "1") as server:
        for _ in range(3):
            with connected(server) as connection:
                assert get(connection)
        assert server.get("/use")
        assert_clean(server)


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_ends_though_connections_are_kept(sign: signal.Signals) -> None:
    """Threads that wait for a next request do not hold it up."""
    with serve("--threads", "2") as server, connected(server) as one, connected(server) as other:
        assert get(one)
        assert get(other)
        began = time.monotonic()
        server.signal(sign)
        assert server.wait() == 0
        # gunicorn itself keeps connections for two seconds more, and a worker for thirty.
        assert time.monotonic() - began < 20
        assert_clean(server)


def test_a_connection_whose_request_is_under_way_is_answered_though_the_worker_ends() -> None:
    """A client that has connected before SIGTERM, and sends after it, gets its answer."""
    with serve("--threads", "1") as server:
        server.get("/use")  # the thread has a loop from now on
        server.wait_for("a thread has waited")  # for more requests of that connection
        handed = len(server.find("handed to a thread"))
        with connected(server) as late:
            late.connect()
            wait_until(
                lambda: len(server.find("handed to a thread")) > handed, what="it is accepted"
            )
            server.signal(signal.SIGTERM)
            wait_until(
                lambda: len(server.find("a thread has waited")) > 1, what="the wait is broken off"
            )
            assert get(late)
        assert server.wait() == 0
