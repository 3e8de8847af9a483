"""gunicorn is told to end, to reload or to be replaced, or a worker is hit, under a request."""

from __future__ import annotations

import signal
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.serving import APP, KINDS, Logged, held, serve, state
from tests.servers.process import CONTROL_SOCKET, LISTENING, Server, assert_clean, wait_until

pytestmark = [pytest.mark.gunicorn, pytest.mark.slow]

every = pytest.mark.parametrize("kind", KINDS)
threaded = pytest.mark.parametrize("kind", ["gthread", "LoopThreadWorker"])
at_once = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])


def tell(server: Server, number: signal.Signals) -> None:
    """Signal the server, and wait until it knows."""
    server.signal(number)
    server.wait_for(f"Handling signal: {number.name.removeprefix('SIG').lower()}")


def wait_for_threads(server: Server) -> None:
    """Wait until gunicorn's main thread has handed its requests to threads, and sleeps.

    Its handlers of SIGINT and SIGQUIT take the lock of the thread pool. Where they interrupt the
    main thread as it hands a request to a `gthread` worker's threads, under that lock, the worker
    hangs.
    """
    waits_in = Path(f"/proc/{state(server)['pid']}/wchan")
    wait_until(lambda: "poll" in waits_in.read_text(), what="the main thread waits for requests")


@every
def test_sigterm(kind: str) -> None:
    """A request and a stream that are under way at SIGTERM are answered to their end."""
    paths = ["/wait"] if kind == "sync" else ["/wait", "/stream"]
    with serve(kind) as server, ExitStack() as clients:
        requests = [clients.enter_context(held(server, path)) for path in paths]
        tell(server, signal.SIGTERM)
        for request in requests:
            request.say("word")
            request.hang_up()
            assert request.outcome().strip() == "200 word"
        assert server.wait() == 0
        assert_clean(server)


@threaded
@at_once
def test_quick_stop(kind: str, number: signal.Signals) -> None:
    """With threads, a request that ends soon after SIGINT or SIGQUIT still gets its answer."""
    with serve(kind) as server, held(server) as request:
        wait_for_threads(server)
        tell(server, number)
        request.say("word")
        assert request.outcome() == "200 word"
        assert server.wait() == 0
        assert_clean(server)


@at_once
def test_quick_stop_without_threads(number: signal.Signals) -> None:
    """The sync worker cancels the coroutine in its main thread, whose cleanup runs: 500."""
    with serve("sync") as server, held(server) as request:
        server.signal(number)
        assert request.outcome() == "500"
        assert server.wait() == 0
        server.wait_for("wait canceled")


@every
def test_graceful_timeout_exceeded(kind: str) -> None:
    """A request that is not over when the graceful timeout is loses its connection, and no more."""
    with serve(kind, "--graceful-timeout", "1") as server, held(server) as request:
        tell(server, signal.SIGTERM)
        assert request.outcome() == "closed"
        assert server.wait() == 0
        assert_clean(server)


@every
def test_sigkill(kind: str) -> None:
    """The killed worker's requests are lost; gunicorn logs it, and a new worker serves."""
    with serve(kind) as server:
        old = state(server)["pid"]
        with held(server) as request:
            server.signal(signal.SIGKILL, old)
            assert request.outcome() == "closed"
        assert state(server)["pid"] != old
        server.wait_for(f"Worker .pid:{old}. was sent SIGKILL")


@every
def test_a_frozen_worker(kind: str) -> None:
    """A worker that is stopped for longer than gunicorn's timeout is killed and replaced."""
    with serve(kind, "--timeout", "1") as server:
        old = state(server)["pid"]
        with held(server) as request:
            server.signal(signal.SIGSTOP, old)
            assert request.outcome() == "closed"
        server.wait_for(f"WORKER TIMEOUT .pid:{old}")
        assert state(server)["pid"] != old


@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="only Linux has it")
@every
def test_sigstop_and_sigcont(kind: str) -> None:
    """A worker that is stopped and continued answers as if nothing had happened."""
    with serve(kind) as server:
        old, logged = state(server)["pid"], Logged(server)
        with held(server) as request:
            server.signal(signal.SIGSTOP, old)
            request.say("word")
            server.signal(signal.SIGCONT, old)
            assert request.outcome() == "200 word"
        assert state(server)["pid"] == old
        logged.assert_says([])


def test_worker_timeout() -> None:
    """A sync worker whose request takes too long cancels it: 500, and a new worker serves."""
    with serve("sync", "--timeout", "1") as server:
        old = state(server)["pid"]
        with held(server) as request:
            assert request.outcome() == "500"
        for line in (f"WORKER TIMEOUT .pid:{old}", "wait canceled", "SystemExit: 1"):
            server.wait_for(line)
        assert state(server)["pid"] != old


@threaded
def test_sigabrt(kind: str) -> None:
    """A threaded worker that is aborted under a request is gone after gunicorn's timeout."""
    with serve(kind, "--timeout", "1") as server:
        old = state(server)["pid"]
        with held(server) as request:
            server.signal(signal.SIGABRT, old)
            # It depends on whether gunicorn kills the worker before its cleanup has run.
            assert request.outcome() in ("500", "closed")
        server.wait_for(f"WORKER TIMEOUT .pid:{old}")
        assert state(server)["pid"] != old


def by_script(kind: str) -> Server:
    """A server that can start itself again; `-m gunicorn` would find its own `http` then."""
    program = Path(sys.executable).with_name("gunicorn")
    if not program.is_file():
        pytest.skip("gunicorn's own script is not installed")
    options = ("--bind=127.0.0.1:0", "--worker-class", KINDS[kind], *CONTROL_SOCKET, APP)
    return Server(*options, program=str(program)).ready(LISTENING)


@every
def test_usr2(kind: str) -> None:
    """A new server takes over the socket while the old one answers what it has: nothing is lost."""
    with by_script(kind) as server:
        old = state(server)["pid"]
        with held(server) as request:
            server.signal(signal.SIGUSR2)
            server.wait_for("Booting worker with pid", count=2)
            tell(server, signal.SIGTERM)
            request.say("word")
            assert request.outcome() == "200 word"
        new = int(server.wait_for(r"Booting worker with pid: (\d+)", count=2)[1])
        server.wait_for("Shutting down: Master")
        assert state(server)["pid"] == new != old
        assert_clean(server)
