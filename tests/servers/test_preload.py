from __future__ import annotations

import contextlib
import signal
import socket

import pytest

from tests.servers.process import LIMIT, THREADED, Server, assert_clean, gunicorn

pytestmark = pytest.mark.gunicorn


def preloaded(worker: str, *options: str) -> Server:
    options = ("--threads", "1", "--config", "python:tests.servers.preload_conf", *options)
    return gunicorn("tests.servers.preload:app", *options, worker_class=THREADED[worker])


def echo(connection: socket.socket, line: str) -> str:
    """Ask the server on the master's loop; its answer."""
    connection.sendall(line.encode() + b"\n")
    with connection.makefile() as lines:
        return lines.readline().rstrip("\n")


def call_master(server: Server) -> contextlib.closing[socket.socket]:
    port = int(server.wait_for(r"echo at (\d+)")[1])
    return contextlib.closing(socket.create_connection(("127.0.0.1", port), LIMIT))


@pytest.mark.parametrize("worker", THREADED)
def test_a_worker_makes_its_own_loop_and_is_told_why_not_the_masters(worker: str) -> None:
    """With --preload the master's manager refuses to work in a worker and says what to do."""
    with preloaded(worker) as server:
        answer = server.get("/masters")
        assert answer["pid"] != server.pid
        assert answer["own"] == answer["pid"]
        assert "fork" in answer["refusal"]
        assert "'master'" in answer["refusal"]
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        assert_clean(server)


@pytest.mark.parametrize("worker", THREADED)
def test_the_masters_loop_goes_on_when_workers_have_ended(worker: str) -> None:
    """A worker that ends does not take the master's sockets out of the epoll set they share."""
    with preloaded(worker, "--max-requests", "1") as server:
        with call_master(server) as old:
            assert echo(old, "before") == "master says before"
            for _ in range(2):
                ended = server.get("/masters")["pid"]
                server.wait_for(f"master {server.pid} runs on in {server.pid} without {ended}")
                assert echo(old, "after") == "master says after"
                with call_master(server) as new:
                    assert echo(new, "new") == "master says new"
        server.wait_for("echo hung up", count=3)
        server.wait_for(r"worker \d+ is ready", count=3)
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        # Once, in the master: a worker's end does not run the cleanup of the master's tasks.
        assert [found[1] for found in server.find(r"echo ended in (\d+)")] == [str(server.pid)]
        assert_clean(server)
