"""A client goes away: the one thread of its worker serves the next request."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

import pytest

from tests.faults.serving import KINDS, Logged, at_rest, held, reset_when_closed, serve, state
from tests.servers.process import LIMIT, Server, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.gunicorn, pytest.mark.slow]

how = pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])


@pytest.fixture(scope="module", params=KINDS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """One worker with one thread."""
    with serve(request.param, threads=1) as server:
        yield server


@contextlib.contextmanager
def nothing_happens(server: Server) -> Iterator[None]:
    """Nothing is logged, and the same worker answers with an empty loop."""
    old, logged = state(server)["pid"], Logged(server)
    yield
    assert at_rest(server)["pid"] == old
    logged.assert_says([])


@how
@pytest.mark.parametrize("sent", [b"", b"GET /wait HT"], ids=["nothing", "half a request"])
def test_before(server: Server, sent: bytes, reset: bool) -> None:
    """A client that leaves before its request is complete costs nothing."""
    with nothing_happens(server):
        connection = socket.create_connection(("127.0.0.1", server.port), LIMIT)
        connection.sendall(sent)
        reset_when_closed(connection, reset=reset)
        connection.close()


@how
def test_during_a_request(server: Server, reset: bool) -> None:
    """A request whose client has left goes on to its end, and its answer is dropped."""
    with nothing_happens(server), held(server) as request:
        request.leave(reset=reset)
        request.say("word")


@how
def test_during_a_stream(server: Server, reset: bool) -> None:
    """A stream whose client has left is closed at one of its next items."""
    with nothing_happens(server), held(server, "/stream") as request:
        request.say("first")
        assert request.first_line() == b"first\n"
        before = len(server.find("stream cleaned up"))
        request.leave(reset=reset)

        def over() -> bool:
            with contextlib.suppress(OSError):
                request.say("another")
            return len(server.find("stream cleaned up")) > before

        wait_until(over, what="the stream is closed")


@how
def test_after(server: Server, reset: bool) -> None:
    """A client that leaves after its answer costs nothing."""
    with (
        nothing_happens(server),
        socket.create_connection(("127.0.0.1", server.port), LIMIT) as connection,
    ):
        connection.sendall(b"GET /work?number=1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with connection.makefile("rb") as lines:
            while lines.readline() != b"0\r\n":  # the last chunk of the body
                pass
        reset_when_closed(connection, reset=reset)
        connection.close()
