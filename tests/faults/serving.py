"""Servers for the faults, requests to them, and what came of those."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import re
import socket
import struct
from typing import TYPE_CHECKING, Any

from tests.servers.process import LOOP_THREAD_WORKER, Caller, Server, gunicorn, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KINDS = {"gthread": "gthread", "LoopThreadWorker": LOOP_THREAD_WORKER, "sync": "sync"}
"""gunicorn's worker classes that the faults are tried on."""

APP = "tests.faults.served:app"

NOISE = re.compile(
    # asyncio's debug mode, on as the servers run in Python's development mode, tells of slow steps.
    r"^Executing <|^  |^ResourceWarning: Enable tracemalloc"
    # gunicorn leaves sockets open.
    r"|ResourceWarning: unclosed (<socket|file)"
    # Python 3.12 and later warn of every fork beside threads.
    r"|DeprecationWarning: This process .* is multi-threaded, use of fork"
)

_marks = itertools.count()


def serve(kind: str, *options: str, app: str = APP, threads: int = 2) -> Server:
    """A gunicorn with a worker of this kind, and the faults' application."""
    options = options if kind == "sync" else ("--threads", str(threads), *options)
    return gunicorn(app, *options, worker_class=KINDS[kind])


def outcome(ask: Callable[[], tuple[http.client.HTTPResponse, bytes]]) -> str:
    """What a client sees: the status and a text, or how the connection ended."""
    try:
        response, body = ask()
    except http.client.RemoteDisconnected:
        return "closed"
    except http.client.IncompleteRead as error:
        return f"cut off after {error.partial.decode()}"
    except ConnectionResetError:
        return "closed"
    return f"{response.status} {body.decode()}" if response.status == 200 else str(response.status)


def state(server: Server) -> dict[str, Any]:
    """What the next request sees; all that was logged before it has been read."""
    mark = next(_marks)
    seen: dict[str, Any] = server.get(f"/state?mark={mark}")
    server.wait_for(f"^mark {mark}$")
    return seen


def at_rest(server: Server) -> dict[str, Any]:
    """The same, when nothing but resources is left on the loop."""
    seen: dict[str, Any] = {}

    def look() -> bool:
        seen.update(state(server))
        return all(name.startswith("loop resource") for name in seen["unfinished"])

    wait_until(look, what="the loop is at rest")
    return seen


class Logged:
    """What a server writes from here on."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._before = len(server.log.splitlines())

    def lines(self) -> list[str]:
        lines = self._server.log.splitlines()[self._before :]
        return [line for line in lines if not NOISE.search(line)]

    def assert_says(self, patterns: list[str]) -> None:
        """Fail unless each pattern is there; if there are none, nothing may tell of an error."""
        text = "\n".join(self.lines())
        for pattern in patterns or [r"\A(?![\s\S]*(Traceback|Error|Exception|Warning))"]:
            assert re.search(pattern, text), f"{pattern!r} is not in\n{text}"


def reset_when_closed(connection: socket.socket, *, reset: bool = True) -> None:
    """Choose between a FIN and a RST for when a connection is closed."""
    if reset:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Held:
    """A request that is under way until the test says a word."""

    def __init__(self, server: Server, path: str) -> None:
        self._caller = Caller()
        self._connection = server.send(f"{path}?port={self._caller.port}")
        self._socket: socket.socket = self._connection.sock
        self._response: http.client.HTTPResponse | None = None
        self._caller.accept()

    def say(self, word: str) -> None:
        self._caller.say(word)

    def hang_up(self) -> None:
        """End a stream, whose words are its items."""
        self._caller.hang_up()

    def outcome(self) -> str:
        """What its client sees in the end."""
        return outcome(self._answer)

    def _answer(self) -> tuple[http.client.HTTPResponse, bytes]:
        response = self._connection.getresponse()
        return response, response.read()

    def first_line(self) -> bytes:
        """Read the first line of a stream."""
        self._response = self._connection.getresponse()
        return self._response.readline()

    def leave(self, *, reset: bool) -> None:
        """Go away in the middle, with a FIN or with a RST."""
        reset_when_closed(self._socket, reset=reset)
        if self._response is not None:
            self._response.close()
        self._connection.close()

    def close(self) -> None:
        self._connection.close()
        self._caller.__exit__()


@contextlib.contextmanager
def held(server: Server, path: str = "/wait") -> Iterator[Held]:
    """A request that waits for the test, or a stream that does."""
    with contextlib.closing(Held(server, path)) as request:
        yield request
