"""The linger timer: one thread for all managers, asleep unless callers drive.

While calls come back to back nobody need run the loop between them. Somebody has to notice when
they stop coming. A keeper that polled for that would take the GIL from the very calls it waits
for, once for each manager; this thread does it for all of them, and sleeps when none is armed.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from .seam import Seam

__all__ = ["LingerTimer", "Lingering", "TimerThread", "reset", "shared_timer"]


class Lingering(Protocol):
    """Who wants to know when its callers have stayed away long enough."""

    linger: float
    """Seconds."""

    def linger_over(self) -> float | None:
        """Look, and return when to ask again, on the seam's clock; None to be forgotten."""


class LingerTimer:
    """A daemon thread that asks those who are armed. Lives while it has users.

    `users` and the thread's life are guarded by a lock; `arm()` takes none, as it is called from
    wherever a destructor may submit work.
    """

    def __init__(self, seam: Seam) -> None:
        self._seam = seam
        self._lock = threading.Lock()
        self._users = 0
        self._worker: TimerThread | None = None

    def open(self) -> TimerThread:
        """Count one more user, and start the thread for the first.

        Raises:
            RuntimeError: The process cannot start another thread.
        """
        with self._lock:
            if self._worker is None:
                worker = TimerThread(self._seam)
                worker.thread = self._seam.start_thread(worker.run, "wsgi_async timer")
                self._worker = worker
            self._users += 1
            return self._worker

    def close(self) -> None:
        """Count one user less, and end the thread after the last."""
        with self._lock:
            self._users -= 1
            if self._users:
                return
            worker, self._worker = self._worker, None
        if worker is not None:
            worker.end()


class TimerThread:
    """What the timer's thread runs. Lives from the first user to the last."""

    def __init__(self, seam: Seam) -> None:
        self._clock = seam.clock
        self._signal = seam.signal()
        self._incoming: deque[Lingering] = deque()
        self._ended = False
        self._asleep_until = math.inf  # infinite too while it is awake
        self.thread: threading.Thread | None = None

    def arm(self, who: Lingering) -> None:
        """Ask this one from now on. From any thread; takes no lock."""
        self._incoming.append(who)
        # A thread that wakes by itself in time is left asleep: it would take the GIL from the
        # call that arms. It says until when it sleeps and looks at the list after that; we add
        # to the list and look how long it sleeps after that. One of the two sees the other.
        if self._asleep_until > self._clock() + who.linger:
            self._signal.set()

    def end(self) -> None:
        """Let the thread end, which it does at once. From any thread."""
        self._ended = True
        self._signal.set()
        if self.thread is not None:
            self.thread.join(1.0)

    def run(self) -> None:
        """Ask whoever is armed, when it is time; the thread's main function."""
        armed: list[Lingering] = []
        while not self._ended:
            while self._incoming:
                armed.append(self._incoming.popleft())
            armed, until = _ask(armed)
            if until is None:
                self._signal.wait()
                continue
            self._asleep_until = until
            if not self._incoming:
                self._signal.wait(max(0.0, until - self._clock()))
            self._asleep_until = math.inf


def _ask(armed: list[Lingering]) -> tuple[list[Lingering], float | None]:
    """Those who want to be asked again, and when; in a frame of its own, so it keeps nobody."""
    asked = [(who, who.linger_over()) for who in armed]
    waiting = [(who, until) for who, until in asked if until is not None]
    return [who for who, _ in waiting], min((until for _, until in waiting), default=None)


_shared: dict[Seam, LingerTimer] = {}


def shared_timer(seam: Seam) -> LingerTimer:
    """The process's timer for this seam."""
    return _shared.setdefault(seam, LingerTimer(seam))


def reset() -> None:
    """In a forked child: the timer's thread is the parent's."""
    _shared.clear()
