"""gunicorn's connections: a worker thread waits for the next request inside its loop.

gunicorn's own worker gives each connection back to its main thread, which waits for the next
request and hands that to a thread again. A thread on which a loop lives can wait for it itself, as
long as nobody else needs the thread.
"""
# gunicorn has no types, and strict mode would complain of each use of it.
# pyright: standard

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from wsgi_async.core.managers.thread_pool import crew_of
from wsgi_async.core.runners.resident import current_seat

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from wsgi_async.core import LoopThreadPoolExecutor
    from wsgi_async.core.base.primitives import Wakeup
    from wsgi_async.core.runners.crew import Crew
    from wsgi_async.core.runners.resident import Resident

__all__ = ["Connections"]


class Connections:
    """The connections of one worker process whose next request a thread waits for.

    Lives as long as the process. The worker's threads wait; the main thread stops them.
    """

    # Never changes once a thread waits:
    _crew: Crew

    def __init__(self) -> None:
        # No lock: a thread adds and removes its own, and the main thread copies.
        self._waits: set[Wakeup] = set()
        # No lock: True once, for good. A thread looks at it when its wake-up is in the set.
        self._stopped = False

    def use(self, pool: LoopThreadPoolExecutor) -> None:
        """Serve the connections with these threads. Called once, before anything else."""
        self._crew = crew_of(pool)

    def stop(self) -> None:
        """Have no thread wait any more. For the main thread, also in a signal handler."""
        self._stopped = True
        for wakeup in list(self._waits):
            wakeup.set()

    def first_comes(
        self, wait_for_data: Callable[[float], bool], sock: socket.socket, timeout: float
    ) -> bool:
        """Wait for the first request of a connection; browsers open some that they do not use.

        Args:
            wait_for_data: What gunicorn waits with. The loop stands still meanwhile.
            sock: The connection's socket.
            timeout: Seconds.
        """
        if _runner_here() is None or wait_for_data(0.0):
            return wait_for_data(timeout)
        self._wait(sock, timeout)
        return wait_for_data(0.0)

    def next_comes(self, conn: Any) -> bool | None:
        """Wait until the next request of a kept-alive connection comes.

        Returns:
            Whether it comes before the connection has to be closed; None if this thread cannot
            wait for that, or is needed elsewhere.
        """
        # TLS and gunicorn's parser may have read some of it already, and nothing more will come.
        unreader = getattr(conn.parser, "unreader", None)
        if conn.cfg.is_ssl or unreader is None or unreader.buf.getvalue():
            return None
        return self._wait(conn.sock, conn.cfg.keepalive)

    def _wait(self, sock: socket.socket, timeout: float) -> bool | None:
        runner = _runner_here()
        if runner is None:
            return None
        wakeup = runner.wakeup()
        self._waits.add(wakeup)
        try:
            if self._stopped or not self._crew.stand_by(wakeup):
                return None
            try:
                readable = _wait_in_loop(runner, wakeup, sock, timeout)
            finally:
                free = self._crew.end_standing_by(wakeup)
        finally:
            self._waits.discard(wakeup)
            wakeup.end()
        return readable if free and not self._stopped else None


def _runner_here() -> Resident | None:
    seat = current_seat()
    runner = None if seat is None else seat.runner
    return None if runner is None or runner.live.closing else runner


def _wait_in_loop(
    runner: Resident, wakeup: Wakeup, sock: socket.socket, timeout: float
) -> bool | None:
    """Whether the socket can be read; None if the wait was ended by something else."""
    came: list[bool] = []
    loop = runner.live.raw
    loop.add_reader(sock, partial(_note, came, wakeup.set))
    try:
        in_time = wakeup.wait(timeout)
    finally:
        loop.remove_reader(sock)
    if came or not in_time:
        return bool(came)
    return None


def _note(came: list[bool], wake: Callable[[], None]) -> None:
    came.append(True)
    wake()
