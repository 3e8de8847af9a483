"""Clients that ask a server again and again, and note what they lose."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concurrent.futures import Future

    from tests.servers.process import Server

CLIENTS = 8


class Load:
    """Clients with a new connection for each request. Lives in a `with` block."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._numbers = itertools.count(1)
        self._end = threading.Event()
        self._pool = ThreadPoolExecutor(CLIENTS)
        self._clients: list[Future[None]] = []
        self.answered: set[int] = set()
        self.lost: dict[int, str] = {}

    def __enter__(self) -> Load:
        self._clients = [self._pool.submit(self._ask) for _ in range(CLIENTS)]
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._pool.shutdown()
        for client in self._clients:
            client.result()

    def _ask(self) -> None:
        while not self._end.is_set():
            number = next(self._numbers)
            try:
                response, body = self._server.request(f"/work?number={number}")
            except ConnectionRefusedError:  # the server has ended
                return
            except (HTTPException, OSError) as error:
                self.lost[number] = repr(error)
                continue
            assert (response.status, body) == (200, b"%d %d %d" % (number, number, 3 * number))
            self.answered.add(number)

    def wait_for(self, more: int) -> None:
        """Wait until so many more requests have been answered."""
        enough = len(self.answered) + more
        tick = threading.Event()
        while len(self.answered) < enough and not all(client.done() for client in self._clients):
            tick.wait(0.005)

    def assert_answered(self) -> None:
        """Fail if a request that has reached the application got no answer."""
        began = {int(found[1]) for found in self._server.find(r"^began (\d+)$")}
        assert began >= self.answered
        assert {number: self.lost.get(number) for number in began - self.answered} == {}
