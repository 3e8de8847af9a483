"""gunicorn's connections: a worker thread waits for the next request inside its loop.

gunicorn's own worker gives each connection back to its main thread, which waits for the next
request and hands it to a thread again. A thread with a loop on it can wait for the request itself,
until another connection needs the thread.
"""
# gunicorn has no types, and strict mode would complain of each use of it.
# pyright: standard

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wsgi_async.core.managers.thread_pool import crew_of
from wsgi_async.core.runners.resident import resident_here

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from wsgi_async.core import LoopThreadPoolExecutor
    from wsgi_async.core.base.primitives import Wakeup
    from wsgi_async.core.runners.crew import Crew
    from wsgi_async.core.runners.resident import Resident

__all__ = ["Connections", "Requests"]


class Connections:
    """The connections of one worker process on which threads wait for the next request.

    Lives as long as the process. The worker's threads wait; the main thread stops them.
    """

    # Never changes once a thread waits:
    crew: Crew
    crowded: Callable[[], bool]

    def __init__(self) -> None:
        # No lock: each thread adds and removes its own wake-up, and the main thread copies the set.
        self.waits: set[Wakeup] = set()
        # No lock: set to True once. A thread reads it when its wake-up is in the set already.
        self.stopped = False

    def use(self, pool: LoopThreadPoolExecutor, crowded: Callable[[], bool]) -> None:
        """Serve the connections with a pool. Called once, before anything else.

        Args:
            pool: The threads.
            crowded: Whether there are more connections than threads right now.
        """
        self.crew = crew_of(pool)
        self.crowded = crowded

    def stop(self) -> None:
        """End all waits, and allow no new ones. For the main thread, also in a signal handler."""
        self.stopped = True
        for wakeup in list(self.waits):
            wakeup.set()


class Requests:
    """The requests of one connection that a thread serves, one after the other.

    Lives until the thread leaves the connection. Only that thread uses it.

    Args:
        connections: The connections of the process.
        conn: gunicorn's connection.
    """

    def __init__(self, connections: Connections, conn: Any) -> None:
        self._connections = connections
        self._conn = conn
        self._fileno: int = conn.sock.fileno()
        self._wakeup: Wakeup | None = None  # while the thread waits
        self._come = False
        # The loop that watches the connection. It keeps watching from one request to the next,
        # because each change takes a system call.
        self._watching: asyncio.AbstractEventLoop | None = None

    def first_comes(self, wait_for_data: Callable[[float], bool], timeout: float) -> bool:
        """Wait for the first request, because browsers open connections that they do not use.

        Args:
            wait_for_data: gunicorn's function, which waits. The loop stands still meanwhile.
            timeout: Seconds.
        """
        if _runner_here() is None or wait_for_data(0.0):
            return wait_for_data(timeout)
        self._wait(timeout)
        # While gunicorn stops, it drops a new connection that is given back to it.
        return wait_for_data(timeout if self._connections.stopped else 0.0)

    def next_comes(self) -> bool | None:
        """Wait for the next request.

        Returns:
            Whether it arrives before the connection has to be closed; None if this thread cannot
            wait for it, or is needed elsewhere.
        """
        # Another connection is likely to need the thread soon, so it does not pay to wait here.
        if self._connections.crowded():
            return None
        # TLS or gunicorn's parser may have read the request already. Then the socket stays silent.
        unreader = getattr(self._conn.parser, "unreader", None)
        if self._conn.cfg.is_ssl or unreader is None or unreader.buf.getvalue():
            return None
        return self._wait(self._conn.cfg.keepalive)

    def end(self) -> None:
        """Stop watching the connection, because the thread leaves it."""
        loop, self._watching = self._watching, None
        if loop is not None and not loop.is_closed():
            loop.remove_reader(self._fileno)

    def _wait(self, timeout: float) -> bool | None:
        runner, all_ = _runner_here(), self._connections
        if runner is None:
            return None
        wakeup = self._wakeup = runner.wakeup()
        all_.waits.add(wakeup)
        try:
            if all_.stopped or not all_.crew.stand_by(wakeup):
                return None
            try:
                in_time = self._wait_in_loop(runner.live.raw, wakeup, timeout)
            finally:
                free = all_.crew.end_standing_by(wakeup)
        finally:
            self._wakeup = None
            all_.waits.discard(wakeup)
            wakeup.end()
        if not free or all_.stopped:
            return None
        return self._come or (None if in_time else False)

    def _wait_in_loop(
        self, loop: asyncio.AbstractEventLoop, wakeup: Wakeup, timeout: float
    ) -> bool:
        self._come = False
        if self._watching is not loop:
            self.end()
            # By its number: asyncio looks up a socket that it does not know, and catches an error
            # whose text has the socket's addresses. That takes a tenth of a small request's time.
            loop.add_reader(self._fileno, self._readable)
            self._watching = loop
        return wakeup.wait(timeout)

    def _readable(self) -> None:
        """On the loop: the connection has data."""
        if self._wakeup is None:
            self.end()  # the data belongs to the request that is being served
        else:
            self._come = True
            self._wakeup.set()


def _runner_here() -> Resident | None:
    runner = resident_here()
    return None if runner is None or runner.live.closing else runner
