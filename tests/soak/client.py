"""A client thread: it sends requests of all kinds, checks each answer, and sometimes leaves."""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import socket
import struct
import threading
from typing import TYPE_CHECKING

from tests.soak.plan import KINDS, LEAVES, choose, query

if TYPE_CHECKING:
    from tests.soak.servers import SoakServer
    from tests.soak.tally import Tally

PATIENCE = 30.0
"""Seconds without an answer, after which a request hangs."""

_RST = struct.pack("ii", 1, 0)  # SO_LINGER of no time: close() sends an RST


class Gate:
    """Where the clients stand in quiet moments. Lives as long as the soak."""

    def __init__(self, clients: int) -> None:
        self._clients = clients
        self._news = threading.Condition()  # guards all of these
        self._open = True
        self._ended = False
        self._waiting = 0

    def close(self) -> bool:
        """Have the clients stop, and wait until all have; False if they do not."""
        with self._news:
            self._open = False
            return self._news.wait_for(lambda: self._waiting == self._clients, PATIENCE * 3)

    def open(self) -> None:
        with self._news:
            self._open = True
            self._news.notify_all()

    def end(self) -> None:
        with self._news:
            self._ended = True
            self._news.notify_all()

    @property
    def closed(self) -> bool:
        return not self._open or self._ended

    def wait(self) -> bool:
        """Wait until it is open; False at the end."""
        with self._news:
            self._waiting += 1
            self._news.notify_all()
            self._news.wait_for(lambda: self._open or self._ended)
            self._waiting -= 1
            return not self._ended


class Client:
    """One client's requests. Lives as long as its thread.

    Args:
        name: What its tokens begin with.
        seed: Of what it does.
        servers: Whom it asks.
        tally: Where it counts.
        gate: Where it stands in quiet moments.
    """

    def __init__(
        self, name: str, seed: str, servers: list[SoakServer], tally: Tally, gate: Gate
    ) -> None:
        self.name = name
        self._random = random.Random(seed)
        self._servers = servers
        self._tally = tally
        self._gate = gate
        self._kept: dict[str, http.client.HTTPConnection] = {}
        self._number = 0

    def work(self) -> None:
        while True:
            if self._gate.closed:
                self._close_all()
                if not self._gate.wait():
                    return
            server = self._random.choice(self._servers)
            self._number += 1
            token = f"{self.name}-{self._number}"
            kind = choose(self._random)
            try:
                if kind in LEAVES:
                    self._leave(server, kind, token)
                else:
                    self._ask(server, kind, token)
            except Exception as error:
                self._tally.add_wrong(f"{server.name} {kind} {token}: the client got {error!r}")

    def _close_all(self) -> None:
        for connection in self._kept.values():
            connection.close()
        self._kept.clear()

    # -- requests that are answered ------------------------------------------------------------

    def _ask(self, server: SoakServer, kind: str, token: str) -> None:
        path, number = query(self._random, kind, token)
        keep = self._random.random() < 0.7
        connection = self._kept.pop(server.name, None)
        try:
            status, body = self._exchange(server, connection, path, keep=keep)
        except TimeoutError:
            self._tally.add_hung(f"{server.name} {path}")
            return
        except (OSError, http.client.HTTPException) as error:
            self._tally.add_lost(server.name, token, f"{path}: {error!r}")
            return
        self._tally.answered(kind)
        if KINDS[kind].fault:
            self._tally.fault(kind)
        found = self._check(kind, token, number, status, body)
        if found is not None:
            self._tally.add_wrong(f"{server.name} {path}: {found}")

    def _exchange(
        self,
        server: SoakServer,
        kept: http.client.HTTPConnection | None,
        path: str,
        *,
        keep: bool,
    ) -> tuple[int, bytes]:
        """Send and receive; once more over a new connection if the kept one was closed."""
        connection = kept or self._connect(server)
        headers = {} if keep else {"Connection": "close"}
        try:
            try:
                connection.request("GET", path, headers=headers)
                response = connection.getresponse()
            except (ConnectionError, http.client.BadStatusLine):
                if kept is None:
                    raise
                connection.close()
                self._tally.sent_again()
                return self._exchange(server, None, path, keep=keep)
            body = response.read()
        except BaseException:
            connection.close()
            raise
        if keep and connection.sock is not None:
            self._kept[server.name] = connection
        else:
            connection.close()
        return response.status, body

    def _connect(self, server: SoakServer) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)

    def _check(self, kind: str, token: str, number: int, status: int, body: bytes) -> str | None:
        """What is wrong with an answer."""
        if kind == "escape":
            return None if status == 500 else f"status {status}"
        if status != 200:
            return f"status {status}, {body[:200]!r}"
        if kind == "stream":
            wanted = b"".join(b"%s %d\n" % (token.encode(), each) for each in range(number))
            return None if body == wanted else repr(body[:200])
        answer = {"token": token, "value": KINDS[kind].value(number, token)}
        return None if json.loads(body) == answer else repr(body[:200])

    # -- clients that leave --------------------------------------------------------------------

    def _leave(self, server: SoakServer, kind: str, token: str) -> None:
        request = b"GET /%s?token=%s&number=50 HTTP/1.1\r\nHost: soak\r\n\r\n"
        sent = request % (kind.encode(), token.encode())
        with contextlib.closing(socket.create_connection(("127.0.0.1", server.port), 30)) as one:
            try:
                if kind == "half":
                    one.sendall(sent[: self._random.randrange(1, len(sent) - 2)])
                elif kind == "slow":
                    one.sendall(sent)
                elif kind == "endless":
                    one.sendall(sent)
                    self._read_some(one)
            except TimeoutError:
                self._tally.add_hung(f"{server.name} {kind} {token}")
            except OSError:
                pass  # the server was faster
            if self._random.random() < 0.5:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST)
        self._tally.fault(f"leave: {kind}")

    def _read_some(self, one: socket.socket) -> None:
        left = self._random.randrange(1, 3000)
        while left > 0 and (found := one.recv(1000)):
            left -= len(found)
