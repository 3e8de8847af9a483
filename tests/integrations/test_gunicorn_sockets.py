"""`LoopThreadWorker`'s sockets, whose timeout waits until it matters."""

from __future__ import annotations

import os
import socket
import tempfile
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.core.support import Worker, in_process
from tests.integrations.gunicorn_apps import FILE_SIZE
from tests.servers.process import LIMIT, LOOP_THREAD_WORKER, assert_clean, gunicorn

pytest.importorskip("gunicorn", reason="gunicorn is not installed")

from wsgi_async.integrations.gunicorn_sockets import LazySocket

if TYPE_CHECKING:
    from collections.abc import Iterator

Pair = tuple[LazySocket, socket.socket]


@contextmanager
def connected() -> Iterator[Pair]:
    """A socket of ours, and the plain one that it is connected with."""
    ours, other = socket.socketpair()
    with LazySocket.take(ours) as lazy, other:
        yield lazy, other


@pytest.fixture
def pair() -> Iterator[Pair]:
    with connected() as pair:
        yield pair


def test_a_timeout_holds_for_what_comes_after_it() -> None:
    """Each change counts from the next use on, as with a plain socket."""
    in_process(child_sets_timeouts)


def child_sets_timeouts() -> None:
    with connected() as (lazy, other):
        lazy.settimeout(0.01)
        with pytest.raises(TimeoutError):
            lazy.recv(1)
        lazy.setblocking(False)
        with pytest.raises(BlockingIOError):
            lazy.recv_into(bytearray(1))
        lazy.setblocking(True)
        other.sendall(b"a")
        assert lazy.recv(1) == b"a"
        assert os.get_blocking(lazy.fileno())


def test_a_change_that_nothing_uses_takes_no_system_call(pair: Pair) -> None:
    """What gunicorn sets and takes back between two uses never reaches the descriptor."""
    lazy, _ = pair
    lazy.setblocking(False)
    assert os.get_blocking(lazy.fileno())
    lazy.settimeout(5.0)
    assert os.get_blocking(lazy.fileno())
    lazy.setblocking(True)
    lazy.sendall(b"a")
    assert os.get_blocking(lazy.fileno())


def test_it_tells_the_timeout_that_was_set(pair: Pair) -> None:
    """Code that saves a timeout to restore it later gets what it has set."""
    lazy, _ = pair
    for value in (None, 0.0, 2.5):
        lazy.settimeout(value)
        assert (lazy.gettimeout(), lazy.timeout) == (value, value)
        assert lazy.getblocking() == (value != 0.0)


@pytest.mark.parametrize(("value", "error"), [(-1, ValueError), ("1", TypeError)])
def test_a_timeout_that_is_none_is_refused_at_once(
    pair: Pair, value: object, error: type[Exception]
) -> None:
    """The line that sets it raises, not a later one that sends something."""
    lazy, _ = pair
    with pytest.raises(error):
        lazy.settimeout(value)  # type: ignore[arg-type]
    assert lazy.gettimeout() is None


@pytest.mark.parametrize("timeout", [None, 0.0, 1.5])
def test_a_socket_that_is_taken_keeps_its_timeout(timeout: float | None) -> None:
    """Whatever mode the server's socket has, the new one has it too, and so has what it becomes."""
    plain, other = socket.socketpair()
    plain.settimeout(timeout)
    with other, LazySocket.take(plain) as lazy:
        assert plain.fileno() == -1
        assert lazy.gettimeout() == timeout
        assert os.get_blocking(lazy.fileno()) == (timeout is None)
        lazy.setblocking(False)
        with socket.socket(fileno=lazy.detach()) as again:
            assert not os.get_blocking(again.fileno())


def test_a_copy_is_lazy_too() -> None:
    """`dup()` works, with the timeout that was set."""
    in_process(child_copies)


def child_copies() -> None:
    with connected() as (lazy, other):
        lazy.settimeout(0.01)
        with lazy.dup() as copy:
            assert copy.gettimeout() == 0.01
            with pytest.raises(TimeoutError):
                copy.recv(1)
            other.sendall(b"a")
            assert copy.recv(1) == b"a"


def test_a_file_is_sent_whole() -> None:
    """`sendfile()` waits for the reader, although the socket was non-blocking before."""
    in_process(child_sends_a_file)


def child_sends_a_file() -> None:
    with connected() as (lazy, other), tempfile.TemporaryFile() as file, Worker() as worker:
        lazy.setblocking(False)
        with pytest.raises(BlockingIOError):
            lazy.recv(1)
        lazy.setblocking(True)
        file.write(bytes(FILE_SIZE))
        file.seek(0)
        sent = worker.begin(lazy.sendfile, file)
        got = 0
        while got < FILE_SIZE:
            got += len(other.recv(1 << 20))
        assert sent.result(LIMIT) == FILE_SIZE


# -- through gunicorn ------------------------------------------------------------------------


@pytest.mark.gunicorn
def test_requests_after_an_unread_body_and_a_file_are_answered() -> None:
    """On one kept connection: a body that nobody reads, a large file, and a request after each."""
    app = "tests.integrations.gunicorn_apps:files"
    with (
        gunicorn(app, "--threads", "2", worker_class=LOOP_THREAD_WORKER) as server,
        closing(server.send("/plain")) as connection,
    ):
        assert connection.getresponse().read() == b"LazySocket"
        for _ in range(3):
            connection.request("POST", "/plain", body=bytes(10_000))
            assert connection.getresponse().read() == b"LazySocket"
            connection.request("GET", "/file")
            assert connection.getresponse().read() == bytes(FILE_SIZE)
        assert_clean(server)
