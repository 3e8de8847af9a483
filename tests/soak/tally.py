"""What the clients count. Any thread may count."""

from __future__ import annotations

import threading
from collections import Counter
from typing import NamedTuple

_MOST = 50
"""So many of each kind are told in full."""


class Lost(NamedTuple):
    """A request without an answer."""

    server: str
    token: str
    why: str


class Tally:
    """Counts of one soak. Lives as long as that."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards all of these
        self.kinds: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.hung: list[str] = []
        self.lost: list[Lost] = []
        self.stale = 0  # sent on a kept connection that the server closed meanwhile, and sent again

    def answered(self, kind: str) -> None:
        with self._lock:
            self.kinds[kind] += 1

    def fault(self, kind: str) -> None:
        with self._lock:
            self.faults[kind] += 1

    def sent_again(self) -> None:
        with self._lock:
            self.stale += 1

    def add_wrong(self, what: str) -> None:
        with self._lock:
            self.wrong.append(what)

    def add_hung(self, what: str) -> None:
        with self._lock:
            self.hung.append(what)

    def add_lost(self, server: str, token: str, why: str) -> None:
        with self._lock:
            self.lost.append(Lost(server, token, why))

    @property
    def requests(self) -> int:
        with self._lock:
            return self.kinds.total()

    def first(self, found: list[str]) -> list[str]:
        with self._lock:
            return found[:_MOST]
