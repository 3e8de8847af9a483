"""Starlette and FastAPI apps on real WSGI servers."""

from __future__ import annotations

import contextlib
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.servers.process import LIMIT, THREADED, Caller, Server, assert_clean, gunicorn

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest.importorskip("fastapi", reason="fastapi is not installed")

APPS = "tests.asgi.mounted_apps"
THREADS = 3


def waitress(app: str) -> Server:
    listen = ["--listen=127.0.0.1:0", f"--threads={THREADS}"]
    return Server("-m", "waitress", *listen, app).ready(r"Serving on http://127\.0\.0\.1:(\d+)")


def start(kind: str, app: str = "alone") -> Server:
    if kind == "waitress":
        pytest.importorskip("waitress", reason="waitress is not installed")
        return waitress(f"{APPS}:{app}")
    return gunicorn(f"{APPS}:{app}", "--threads", str(THREADS), worker_class=THREADED[kind])


@pytest.fixture(scope="module", params=[*THREADED, "waitress"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def server(kind: str) -> Iterator[Server]:
    with start(kind) as running:
        yield running


@contextlib.contextmanager
def posting(server: Server, *headers: str) -> Iterator[socket.socket]:
    """A request to /echo whose body is still to come."""
    lines = ["POST /echo HTTP/1.1", "Host: test", *headers, "", ""]
    with socket.create_connection(("127.0.0.1", server.port), LIMIT) as connection:
        connection.sendall("\r\n".join(lines).encode())
        yield connection


def read_until(connection: socket.socket, end: bytes, found: bytes = b"") -> bytes:
    while end not in found:
        piece = connection.recv(4096)
        assert piece, found
        found += piece
    return found


def test_a_part_arrives_before_the_next_one_is_made(server: Server) -> None:
    """The client reads what the app has sent, while the app waits for what to send next."""
    with Caller() as caller, contextlib.closing(server.send(f"/told?port={caller.port}")) as client:
        caller.accept()
        caller.say("one")
        response = client.getresponse()
        assert response.readline() == b"one\n"
        caller.say("two")  # not before the client has the first
        assert response.readline() == b"two\n"
        caller.hang_up()
        assert response.read() == b""


@pytest.mark.parametrize("length", ["Content-Length: 6", "Transfer-Encoding: chunked"])
def test_both_ways_at_once(server: Server, kind: str, length: str) -> None:
    """The client has the echo of the first piece before it sends the second."""
    if kind == "waitress":
        pytest.skip("it reads the whole request before it calls the application")
    chunked = "chunked" in length
    with posting(server, length) as client:
        for piece in (b"one", b"two"):
            client.sendall(b"3\r\n%s\r\n" % piece if chunked else piece)
            found = read_until(client, piece)
        if chunked:
            client.sendall(b"0\r\n\r\n")
        read_until(client, b"0\r\n\r\n", found)


def test_a_large_request(server: Server) -> None:
    """All of it comes through, in pieces that need little memory."""
    body = bytes(range(256)) * 8192
    headers = (f"Content-Length: {len(body)}", "Connection: close")
    with posting(server, *headers) as client, ThreadPoolExecutor(1) as pool:
        sending = pool.submit(client.sendall, body)
        found = b"".join(iter(lambda: client.recv(1 << 20), b""))
        sending.result()
    head, _, chunks = found.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK")
    assert _joined(chunks, chunked=b"chunked" in head) == body


def _joined(chunks: bytes, *, chunked: bool) -> bytes:
    parts: list[bytes] = []
    while chunked:
        size, _, chunks = chunks.partition(b"\r\n")
        if int(size, 16) == 0:
            return b"".join(parts)
        parts.append(chunks[: int(size, 16)])
        chunks = chunks[int(size, 16) + 2 :]
    return chunks


def test_a_client_that_leaves_ends_the_stream(server: Server) -> None:
    """The generator's cleanup runs, and the thread serves the next request."""
    before = len(server.find("ticking stream closed"))
    connection = server.send("/ticking")
    response = connection.getresponse()
    assert response.read(5) == b"tick "
    response.close()
    connection.close()
    server.wait_for("ticking stream closed", count=before + 1)
    assert server.get("/api/loop")["root_path"] == "/api"


def test_a_sync_endpoint_finds_the_loop(server: Server) -> None:
    """In a thread of the framework's."""
    assert server.get("/api/sync") is True


def test_an_error_is_a_500(server: Server) -> None:
    """And the server goes on."""
    response, _ = server.request("/api/fails")
    assert response.status == 500
    assert server.get("/api/loop")


def test_background_tasks_run_after_the_response(server: Server) -> None:
    """The client has its answer before the task has done anything, and the task is done."""
    with Caller() as caller:
        assert server.get(f"/api/background?port={caller.port}") == "answered"
        caller.accept()
        caller.say("go on")
        assert caller.hear() == "go on"


@pytest.mark.parametrize(("app", "loops"), [("wrapped", THREADS), ("processwide", 1)])
@pytest.mark.parametrize("kind", THREADED, scope="function")
def test_one_lifespan_for_each_loop(kind: str, app: str, loops: int) -> None:
    """It begins with a loop's first request, and ends in order when the server does."""
    with start(kind, app) as server:
        with ThreadPoolExecutor(THREADS) as clients:
            found = clients.map(server.get, [f"/api/meet?parties={THREADS}"] * THREADS)
        assert len(set(found)) == loops
        for _ in range(5):
            answer = server.get("/api/loop")
            assert answer["loop"] == answer["state"]
        assert len(server.find("started on")) == loops
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        started = {match.string.split()[-1] for match in server.find("started on")}
        assert {match.string.split()[-1] for match in server.find("stopped on")} == started
        assert_clean(server)


def test_a_stream_ends_before_the_worker_does() -> None:
    """LoopThreadWorker gives it half of the graceful timeout, and it ends in order."""
    with (
        gunicorn(
            f"{APPS}:alone", "--graceful-timeout", "2", worker_class=THREADED["LoopThreadWorker"]
        ) as server,
        contextlib.closing(server.send("/ticking")) as client,
    ):
        response = client.getresponse()
        response.read(5)
        server.signal(signal.SIGTERM)
        assert response.read().count(b"tick")  # raises if the connection breaks off
        assert server.wait() == 0
        assert server.find("ticking stream closed")
        assert_clean(server)
