"""Has the workers of the recycled servers replaced, at random."""

from __future__ import annotations

import os
import random
import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.soak.servers import SoakServer
    from tests.soak.tally import Tally


class Disturber:
    """Sends signals every few seconds. Lives in a `with` block."""

    def __init__(self, servers: list[SoakServer], seed: str, tally: Tally) -> None:
        self._servers = servers
        self._random = random.Random(seed)
        self._tally = tally
        self._turn = False
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._work, name="disturber")

    def __enter__(self) -> Disturber:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._end.wait(self._random.uniform(2, 6)):
            server = self._random.choice(self._servers)
            workers = server.workers()
            self._turn = not self._turn
            if self._turn or not workers:
                server.signal(signal.SIGHUP)
                self._tally.fault("SIGHUP")
                continue
            try:
                os.kill(self._random.choice(workers), signal.SIGTERM)
            except ProcessLookupError:
                continue
            self._tally.fault("SIGTERM of a worker")
