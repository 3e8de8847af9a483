"""One thread that looks at all loops again and again, for its watchers.

It runs only while there is a watcher, and a loop to look at. A forked child that starts a manager
gets its own thread.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import TYPE_CHECKING, Protocol

from wsgi_async.core import AsyncioLoopManager
from wsgi_async.core.base.log import report
from wsgi_async.core.base.primitives import Primitives, new_mutex, start_thread
from wsgi_async.core.managers.manager import lifecycle_of, on_start

from .progress import Watched

if TYPE_CHECKING:
    from wsgi_async.core.runners.runner import Runner

__all__ = ["PERIOD", "Watcher", "add", "live_runners", "remove"]

PERIOD = 0.075
"""Seconds between two looks.

A loop that stands still is noticed with this delay. After that, watchers can ask for earlier looks.
"""

_HELD_UP = 0.25
"""Seconds. If a look is later than this, the whole process stood still, not one loop."""

_EMPTY = 14
"""After this many looks without a loop, about a second, the thread ends."""


class Watcher(Protocol):
    """Sees all loops at each look, on the sampler's thread. It must not block."""

    def look(self, now: float, loops: list[Watched]) -> float | None:
        """Look at the loops.

        Returns:
            When the next look has to be, if that is sooner than usual.
        """
        ...

    def forget(self) -> None:
        """In a forked child: forget the parent's state. Takes no lock."""


def live_runners() -> list[Runner]:
    """The runners of all loops of this process. From any thread."""
    runners = [lifecycle_of(manager).runner for manager in AsyncioLoopManager.all_instances()]
    return [runner for runner in runners if runner is not None]


class _Sampler:
    """The thread and its watchers. There is one for the process. Lives as long as the process."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._lock = new_mutex()
        # Under the lock; the tuple is read without it.
        self.watchers: tuple[Watcher, ...] = ()
        self._thread: threading.Thread | None = None
        self._empty = 0
        # No lock: any thread sets it. The sampler's thread clears it before it looks for loops.
        self._changed = True
        # One thread, the sampler's:
        self._watched: dict[Runner, Watched] = {}
        self._loops: list[Watched] = []

    # -- from any thread -----------------------------------------------------------------------

    def add(self, watcher: Watcher) -> None:
        """From now on, show the loops to a watcher."""
        with self._lock:
            self.watchers = (*self.watchers, watcher)
        if live_runners():
            self.ensure()

    def remove(self, watcher: Watcher) -> None:
        """Do not show the loops to a watcher any more. A look may still be running."""
        with self._lock:
            self.watchers = tuple(one for one in self.watchers if one is not watcher)

    def ensure(self) -> None:
        """A manager has been started: start the thread, if there is a watcher."""
        if not self.watchers:
            return
        if self._pid != os.getpid():
            self.forget()  # the process was forked without Python's hooks
        self._changed = True
        with self._lock:
            self._empty = 0
            if self._thread is None:
                try:
                    self._thread = start_thread(self._run, "wsgi_async sampler")
                except RuntimeError as error:  # the next manager tries again
                    report(logging.WARNING, "no thread to watch the loops", error=error)

    def forget(self) -> None:
        """In a forked child: forget the thread and the loops, which only exist in the parent."""
        self._pid = os.getpid()
        self._lock = new_mutex()
        self._thread = None
        self._drop_loops()
        for watcher in self.watchers:
            watcher.forget()

    # -- the sampler's thread ------------------------------------------------------------------

    def _run(self) -> None:
        due = now = Primitives.clock()
        while self._look_safely(now, now - due):
            due = min(self._sooner, now + PERIOD)
            time.sleep(max(0.0, due - Primitives.clock()))
            now = Primitives.clock()

    _sooner = 0.0

    def _look_safely(self, now: float, late: float) -> bool:
        try:
            return self._look(now, late)
        except Exception as error:  # for example, of an unusual loop class
            report(logging.ERROR, "a look at the event loops failed", error=error)
            self._drop_loops()
            return not self._is_over([])

    def _look(self, now: float, late: float) -> bool:
        """Look at all loops once. Returns False if the thread has nothing more to do."""
        if self._changed:
            self._changed = False
            self._find_loops()
        loops = self._loops
        for each in loops:
            if late > _HELD_UP:
                each.forgive(late)
            each.look(now)
            if each.live.closing:
                self._changed = True
        self._sooner = now + PERIOD
        for watcher in self.watchers:
            self._show(watcher, now, loops)
        return bool(loops and self.watchers) or not self._is_over(loops)

    def _find_loops(self) -> None:
        before = self._watched
        self._watched = {runner: before.get(runner) or Watched(runner) for runner in live_runners()}
        self._loops = list(self._watched.values())

    def _drop_loops(self) -> None:
        self._watched = {}
        self._loops = []
        self._changed = True

    def _is_over(self, loops: list[Watched]) -> bool:
        with self._lock:
            # Do not end at once: the next manager may start soon.
            self._empty = 0 if loops else self._empty + 1
            if self.watchers and self._empty <= _EMPTY:
                return False
            self._thread = None
            self._drop_loops()
            return True

    def _show(self, watcher: Watcher, now: float, loops: list[Watched]) -> None:
        try:
            wanted = watcher.look(now, loops)
        except Exception as error:
            report(logging.ERROR, "%r failed", watcher, error=error)
        else:
            self._sooner = self._sooner if wanted is None else min(self._sooner, wanted)


_sampler = _Sampler()
add = _sampler.add
remove = _sampler.remove
on_start(_sampler.ensure)
if hasattr(os, "register_at_fork"):  # pragma: no branch - missing on Windows only
    os.register_at_fork(after_in_child=_sampler.forget)
