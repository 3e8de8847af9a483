"""Managers that outlive their thread and go on with the next one.

Some servers start a thread for each request. A manager that ended with its thread would keep
nothing open there: no connection, no background work. A pool keeps it running, without an owner,
until the next thread takes it, or until it has waited too long.

No lock is needed, nor could the dying thread take one. The managers that wait stand in a deque,
whose appends and pops are thread-safe, and each stands there once: whoever pops it has it, a new
thread to adopt it or a sweep to stop it. Besides, the baton lets nobody adopt what is owned.
"""

from __future__ import annotations

import contextlib
import contextvars
import math
import os
import threading
import time
import weakref
from collections import deque
from numbers import Integral, Real
from typing import TYPE_CHECKING

from . import lineage
from .baton import NOBODY
from .seam import Signal

if TYPE_CHECKING:
    from .driver import Driver
    from .manager import AsyncioLoopManager

__all__ = ["ManagerPool"]

PATIENCE = 0.05
"""Seconds that a new thread waits at most for one that is just ending."""


class ManagerPool:
    """Keeps the managers of ended threads for the next. Lives as long as its user or its managers.

    Callable from any thread. A forked child finds it empty: what it inherits cannot be adopted.

    Args:
        max_idle: How many managers may wait for a thread. Each has a loop, with its descriptors,
            and a keeper, which is asleep. The one that has waited longest is stopped first.
        max_idle_time: How long one may wait, in seconds.

    Raises:
        TypeError, ValueError: One of them is no such number.
    """

    def __init__(self, *, max_idle: int, max_idle_time: float) -> None:
        _check(max_idle, max_idle_time)
        self._max_idle = max_idle
        self.max_idle_time = max_idle_time
        # In the order in which they came, so those that have waited longest are on the left.
        self._idle: deque[_Member] = deque()
        self._waiting: deque[Signal] = deque()  # of threads that would have one
        self._members: weakref.WeakSet[_Member] = weakref.WeakSet()  # guarded by lineage.lock()
        with lineage.lock():
            _pools.add(self)

    def keep(self, manager: AsyncioLoopManager) -> None:
        """From now on, have the manager wait here when its thread has ended.

        For a manager of the calling thread's own, made without `creator_thread`.
        """
        _watch_main_thread()
        member = _Member(manager, self)
        manager.life.outlive = member.outlive
        with lineage.lock():
            self._members.add(member)

    def take(self) -> AsyncioLoopManager | None:
        """A running manager that has no thread, which is the calling thread's from now on.

        A client that has its response sends the next request while the thread of the first is
        still ending. So where there is none, but one is at rest, it is waited for a moment.

        Returns:
            The one that came last, as its connections are the freshest, and the others get the
            chance to be stopped. None without one, and always in the main thread: it does not
            end before the process, and nobody drives there.
        """
        node = lineage.current_node()
        if node.ident == threading.main_thread().ident:
            return None
        taken = self._take_idle(node)
        if taken is None and self._any_at_rest():
            taken = self._wait_for_one(node)
        return taken

    def _wait_for_one(self, node: lineage.ThreadNode) -> AsyncioLoopManager | None:
        signal, until = Signal(), time.monotonic() + PATIENCE
        while True:
            # Before the look: what comes after that wakes us.
            self._waiting.append(signal)
            taken = self._take_idle(node)
            left = until - time.monotonic()
            if taken is not None or left <= 0 or not self._any_at_rest():
                break
            signal.wait(left)
        with contextlib.suppress(ValueError):
            self._waiting.remove(signal)
        return taken

    def _take_idle(self, node: lineage.ThreadNode) -> AsyncioLoopManager | None:
        while True:
            try:
                member = self._idle.pop()
            except IndexError:
                return None
            # It may have been stopped while it waited, or be the parent process's.
            if member.adopt(node):
                return member.manager

    def _any_at_rest(self) -> bool:
        """Whether there is one that its thread does not use, or that has none."""
        with lineage.lock():
            managers = [member.manager for member in self._members]
        return any(manager.at_rest and manager.running for manager in managers)

    def add(self, member: _Member) -> None:
        """Let a manager wait. Takes no lock, as the thread that comes here is ending."""
        self._idle.append(member)
        # All of them, as one that had been overtaken would have to pass it on.
        while True:
            try:
                self._waiting.popleft().set()
            except IndexError:
                return

    def sweep(self) -> None:
        """Stop the oldest while there are too many of them, or while they are too old.

        Called on one of the managers' loops; others may sweep at the same time.
        """
        while True:
            try:
                # A look first, as a thread that came while all of them are out would make
                # a manager more than it needs.
                if len(self._idle) <= self._max_idle and not self._idle[0].overdue():
                    return
                oldest = self._idle.popleft()
            except IndexError:
                return
            if len(self._idle) < self._max_idle and not oldest.overdue():
                # Another sweep or a new thread was faster, and we have got a younger one.
                self._idle.appendleft(oldest)
                return
            oldest.manager.life.request_stop()

    def stop_idle(self) -> None:
        """Stop all that wait, without waiting for their end."""
        while True:
            try:
                member = self._idle.popleft()
            except IndexError:
                return
            member.manager.life.request_stop()


# Guarded by the lineage's lock. The second one is the process that the watch runs in.
_pools: weakref.WeakSet[ManagerPool] = weakref.WeakSet()
_watched: set[int] = set()


def _watch_main_thread() -> None:
    """Stop what waits as soon as the main thread has ended, in a thread of its own.

    The interpreter waits for all threads then, and calls its exit hooks after that. What waits may
    well have such a thread (a connection of aiosqlite has), which would never end.
    """
    with lineage.lock():
        if os.getpid() in _watched:
            return
        _watched.add(os.getpid())

    def watch() -> None:
        threading.main_thread().join()
        with lineage.lock():
            pools = list(_pools)
        for pool in pools:
            pool.stop_idle()

    threading.Thread(target=watch, name="wsgi_async reuse", daemon=True).start()


def _check(max_idle: int, max_idle_time: float) -> None:
    if not isinstance(max_idle, Integral):
        raise TypeError(f"max_idle is {max_idle!r}. Give a whole number from one.")
    if max_idle < 1:
        raise ValueError(f"max_idle is {max_idle!r}. Give a whole number from one.")
    if not isinstance(max_idle_time, Real):
        raise TypeError(f"max_idle_time is {max_idle_time!r}. Give a number of seconds from zero.")
    if not 0 <= max_idle_time < math.inf:
        raise ValueError(f"max_idle_time is {max_idle_time!r}. Give a number of seconds from zero.")


class _Member:
    """A manager of a pool. Lives as long as the manager."""

    def __init__(self, manager: AsyncioLoopManager, pool: ManagerPool) -> None:
        self.manager = manager
        self._pool = pool
        # Written by the ending thread, before the pool knows of it.
        self._since = 0.0
        # Written on the loop only: the timer of one idle time serves the next ones too, so that
        # they do not pile up. A manager that is started again has a new driver and no timer.
        self._timed: Driver | None = None

    # -- in the thread that ends, without a lock ---------------------------------------------

    def outlive(self) -> bool:
        """Let the manager wait for another thread; False if it is being stopped already."""
        driver = self.manager.life.driver
        if driver is None or driver.baton.closing:
            return False
        if not threading.main_thread().is_alive():
            return False  # the process is ending: there is no next thread
        # In this order: once it is in the pool, it may be another thread's at any moment.
        driver.baton.disown()
        self._since = time.monotonic()
        self._pool.add(self)
        # In an empty context: the timer would keep that of the last request.
        driver.post(contextvars.Context().run, self._settle)
        driver.poke()  # a parked keeper would not notice
        return True

    # -- in the new thread -------------------------------------------------------------------

    def adopt(self, node: lineage.ThreadNode) -> bool:
        """Give the manager to the calling thread; False if it cannot be used any more."""
        manager, life = self.manager, self.manager.life
        # Not under the lineage's lock: a destructor that looks up a manager may come in between
        # while a thread holds the baton's mutex.
        if not life.adopt(node):
            return False
        with lineage.lock():
            before = manager.node
            before.owned.pop(life, None)
            if before.found.get(manager.id) is manager:
                del before.found[manager.id]
            manager.node = node
            manager.at_rest = False
            node.owned[life] = None
            node.found[manager.id] = manager
        return manager.running

    # -- on the loop -------------------------------------------------------------------------

    def overdue(self) -> bool:
        """Whether it has waited too long. From any thread that has seen it in the pool."""
        return self._left() <= 0

    def _left(self) -> float:
        return self._since + self._pool.max_idle_time - time.monotonic()

    def _settle(self) -> None:
        self._pool.sweep()
        self._set_timer()

    def _set_timer(self) -> None:
        driver = self.manager.life.driver
        if driver is None or driver.baton.closing or driver.baton.owner != NOBODY:
            return  # in use, or stopping; the next end of a thread settles it again
        if self._timed is not driver:
            self._timed = driver
            driver.loop.call_later(max(0.0, self._left()), self._time_over)

    def _time_over(self) -> None:
        self._timed = None
        self._settle()
