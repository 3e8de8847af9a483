"""gunicorn's connections: a worker thread waits for the next request inside its loop.

gunicorn's own worker gives each connection back to its main thread, which waits for the next
request and hands that to a thread again. A thread on which a loop lives can wait for it itself, as
long as nobody else needs the thread.
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
    """The connections of one worker process whose next request a thread waits for.

    Lives as long as the process. The worker's threads wait; the main thread stops them.
    """

    # Never changes once a thread waits:
    crew: Crew
    crowded: Callable[[], bool]

    def __init__(self) -> None:
        # No lock: a thread adds and removes its own, and the main thread copies.
        self.waits: set[Wakeup] = set()
        # No lock: True once, for good. A thread looks at it when its wake-up is in the set.
        self.stopped = False

    def use(self, pool: LoopThreadPoolExecutor, crowded: Callable[[], bool]) -> None:
        """Serve the connections with these threads. Called once, before anything else.

        Args:
            pool: The threads.
            crowded: Whether there are more connections than threads right now.
        """
        self.crew = crew_of(pool)
        self.crowded = crowded

    def stop(self) -> None:
        """Have no thread wait any more. For the main thread, also in a signal handler."""
        self.stopped = True
        for wakeup in list(self.waits):
            wakeup.set()


class Requests:
    """The requests that one thread serves of one connection, one after the other.

    Lives until the thread turns to something else. For that thread only.

    Args:
        connections: Those of the process.
        conn: gunicorn's connection.
    """

    def __init__(self, connections: Connections, conn: Any) -> None:
        self._connections = connections
        self._conn = conn
        self._fileno: int = conn.sock.fileno()
        self._wakeup: Wakeup | None = None  # while the thread waits
        self._come = False
        # Where the connection is watched. It stays so from one request to the next, as each
        # change takes a system call.
        self._watching: asyncio.AbstractEventLoop | None = None

    def first_comes(self, wait_for_data: Callable[[float], bool], timeout: float) -> bool:
        """Wait for the first request; browsers open connections that they do not use.

        Args:
            wait_for_data: What gunicorn waits with. The loop stands still meanwhile.
            timeout: Seconds.
        """
        if _runner_here() is None or wait_for_data(0.0):
            return wait_for_data(timeout)
        self._wait(timeout)
        # gunicorn drops a new connection that is given back to it while it stops.
        return wait_for_data(timeout if self._connections.stopped else 0.0)

    def next_comes(self) -> bool | None:
        """Wait for the next one.

        Returns:
            Whether it comes before the connection has to be closed; None if this thread cannot
            wait for that, or is needed elsewhere.
        """
        # Another connection is likely to need the thread: to wait here would be for nothing.
        if self._connections.crowded():
            return None
        # TLS and gunicorn's parser may have read some of it already, and nothing more will come.
        unreader = getattr(self._conn.parser, "unreader", None)
        if self._conn.cfg.is_ssl or unreader is None or unreader.buf.getvalue():
            return None
        return self._wait(self._conn.cfg.keepalive)

    def end(self) -> None:
        """The thread turns to something else: watch the connection no more."""
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
            # By its number: asyncio's error about a socket that it does not know, which it catches
            # itself, shows the socket's addresses. That takes a tenth of a small request.
            loop.add_reader(self._fileno, self._readable)
            self._watching = loop
        return wakeup.wait(timeout)

    def _readable(self) -> None:
        """On the loop: the connection can be read."""
        if self._wakeup is None:
            self.end()  # it is more of the request that is being served
        else:
            self._come = True
            self._wakeup.set()


def _runner_here() -> Resident | None:
    runner = resident_here()
    return None if runner is None or runner.live.closing else runner
