"""A client cannot set anything in the environ that is ours."""

from __future__ import annotations

import socket

import pytest

from tests.servers.process import LIMIT, THREADED, gunicorn

NAMES = (
    *("async.loop", "Async.Loop", "async.scope", "Async-Loop", "async-scope", "ASYNC_LOOP"),
    *("HTTP_ASYNC.LOOP", "http-async.loop", "wsgi.async.loop", "Async%2Eloop"),
)


def answer(port: int, names: tuple[str, ...]) -> tuple[int, dict[str, str]]:
    """The status, and what there is of ours in the environ of a request with these headers."""
    headers = "".join(f"{name}: forged\r\n" for name in names)
    with socket.create_connection(("127.0.0.1", port), LIMIT) as one:
        one.sendall(
            f"GET /?async.loop=forged HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n"
            "".encode()
        )
        received = b""
        while piece := one.recv(10_000):
            received += piece
    head, _, body = received.decode().partition("\r\n\r\n")
    lines = [line.partition("=") for line in body.splitlines() if "=" in line]
    return int(head.split()[1]), {key: kind for key, _, kind in lines}


@pytest.mark.gunicorn
@pytest.mark.parametrize("worker", THREADED)
def test_headers_set_nothing_of_ours(worker: str) -> None:
    """Whatever a client calls its headers, the loop and the scope are the middleware's."""
    with gunicorn("tests.security.app:wrapped", worker_class=THREADED[worker]) as server:
        for names in [(), *((name,) for name in NAMES), NAMES]:
            status, found = answer(server.port, names)
            if status == 400:  # the server has refused it, so nobody has seen it
                continue
            assert status == 200
            ours = {key: kind for key, kind in found.items() if not key.startswith("HTTP_")}
            # What else the server lets through has its prefix.
            assert ours == {
                "async.loop": "AsyncioLoopManager",
                "async.scope": "RequestScope",
            }, names
            assert {kind for key, kind in found.items() if key.startswith("HTTP_")} <= {"str"}


@pytest.mark.gunicorn
def test_without_the_middleware_headers_set_nothing_of_ours_either() -> None:
    """An application that is not wrapped finds no loop, whatever the client sends."""
    with gunicorn("tests.security.app:keys") as server:
        status, found = answer(server.port, NAMES)
        assert status in (200, 400)
        assert [key for key in found if not key.startswith("HTTP_")] == []
        status, found = answer(server.port, ("async.loop", "Async-Loop"))
        assert status == 200
        assert [key for key in found if not key.startswith("HTTP_")] == []
