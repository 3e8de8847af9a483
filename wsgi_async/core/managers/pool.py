"""Managers that outlive their thread and continue with the next one.

Some servers start a thread for each request. If a manager ended with its thread, no connection and
no background work would outlive a request. A pool keeps the manager running, without an owner,
until the next thread takes it, or until it has waited too long.

No lock is needed, and the dying thread could not take one. The waiting managers are in a deque,
whose appends and pops are thread-safe. Each manager is in it once, so it belongs to the thread that
pops it: a new thread, which adopts it, or a sweep, which stops it.
"""

from __future__ import annotations

import contextvars
import math
import os
import threading
import weakref
from collections import deque
from numbers import Integral, Real
from typing import TYPE_CHECKING

from wsgi_async.core.base import threads
from wsgi_async.core.base.primitives import Primitives, start_thread

from .manager import lifecycle_of

if TYPE_CHECKING:
    from wsgi_async.core.loops.live_loop import LiveLoop

    from .manager import AsyncioLoopManager

__all__ = ["ManagerPool"]


class ManagerPool:
    """Keeps managers of ended threads for new threads. Lives as long as its user or its managers.

    Callable from any thread. In a forked child, the managers that it inherits cannot be adopted.

    Args:
        max_idle: How many managers may wait for a thread. Each has a loop with its descriptors,
            and a sleeping thread. The manager that has waited longest is stopped first.
        max_idle_time: How long a manager may wait, in seconds.

    Raises:
        TypeError, ValueError: An argument is not such a number.
    """

    def __init__(self, *, max_idle: int, max_idle_time: float) -> None:
        _check(max_idle, max_idle_time)
        self._max_idle = max_idle
        self.max_idle_time = max_idle_time
        # In the order of arrival, so the managers that have waited longest are on the left.
        self._idle: deque[_Member] = deque()
        with threads.lock():
            _pools.add(self)

    def keep(self, manager: AsyncioLoopManager) -> None:
        """From now on, have the manager wait here when its thread has ended.

        For a manager that belongs to the calling thread, made without `creator_thread`.
        """
        _watch_main_thread()
        lifecycle_of(manager).outlive = _Member(manager, self).outlive

    def take(self) -> AsyncioLoopManager | None:
        """Give a running manager that has no thread to the calling thread.

        Returns:
            The manager that arrived last: its connections are the freshest, and the others get
            the chance to be stopped. None if there is none, and always in the main thread, which
            does not end before the process.
        """
        node = threads.current_node()
        if node.ident == threading.main_thread().ident:
            return None
        while True:
            try:
                member = self._idle.pop()
            except IndexError:
                return None
            # It may have been stopped while it waited, or belong to the parent process.
            if member.adopt(node):
                return member.manager

    def add(self, member: _Member) -> None:
        """Let a manager wait. Takes no lock, because the calling thread is ending."""
        self._idle.append(member)

    def sweep(self) -> None:
        """Stop the managers that exceed `max_idle`, and those that have waited too long.

        Called on the loop of a manager; other loops may sweep at the same time.
        """
        while True:
            try:
                # Check before the pop: a new thread that finds no manager, because all of them
                # are popped just now, would make one too many.
                if len(self._idle) <= self._max_idle and not self._idle[0].overdue():
                    return
                oldest = self._idle.popleft()
            except IndexError:
                return
            younger = len(self._idle) < self._max_idle and not oldest.overdue()
            if younger:  # pragma: no cover - another sweep or a new thread was faster just now
                self._idle.appendleft(oldest)
                return
            lifecycle_of(oldest.manager).request_stop()

    def stop_idle(self) -> None:
        """Stop all waiting managers, without waiting for their end."""
        while True:
            try:
                member = self._idle.popleft()
            except IndexError:
                return
            lifecycle_of(member.manager).request_stop()


class _Member:
    """A manager of a pool. Lives as long as the manager."""

    def __init__(self, manager: AsyncioLoopManager, pool: ManagerPool) -> None:
        self.manager = manager
        self._pool = pool
        # Written by the ending thread before the pool has this member. The adopting thread
        # unsets `_waits`.
        self._since = 0.0
        self._waits = False
        # Written on the loop only. The timer of one idle time also serves the next ones, so that
        # timers do not pile up. A manager that is started again has a new loop and no timer.
        self._timed: LiveLoop | None = None

    # -- in the thread that ends, without a lock ---------------------------------------------

    def outlive(self) -> bool:
        """Let the manager wait for another thread; False if it has to stop instead."""
        runner = lifecycle_of(self.manager).runner
        if runner is None or runner.resident or runner.live.closing:
            return False
        if not threading.main_thread().is_alive():
            return False  # the process is ending: there is no next thread
        # In this order: once it is in the pool, another thread may take it at any moment.
        self._since = Primitives.clock()
        self._waits = True
        self._pool.add(self)
        # In an empty context: the timer would otherwise keep the context of the last request.
        runner.live.post(contextvars.Context().run, self._settle)
        return True

    # -- in the new thread -------------------------------------------------------------------

    def adopt(self, node: threads.ThreadNode) -> bool:
        """Give the manager to the calling thread; False if it cannot be used any more."""
        manager, life = self.manager, lifecycle_of(self.manager)
        if not manager.running:
            return False
        self._waits = False
        before, life.node = life.node, node
        with threads.lock():
            before.owned.pop(life, None)
            node.owned[life] = None
        before.forget(manager.id, manager)
        node.found[manager.id] = manager
        return manager.running

    # -- on the loop -------------------------------------------------------------------------

    def overdue(self) -> bool:
        """Whether it has waited too long. From any thread that has seen it in the pool."""
        return self._left() <= 0

    def _left(self) -> float:
        return self._since + self._pool.max_idle_time - Primitives.clock()

    def _settle(self) -> None:
        self._pool.sweep()
        self._set_timer()

    def _set_timer(self) -> None:
        runner = lifecycle_of(self.manager).runner
        if runner is None or runner.live.closing or not self._waits:
            return  # in use, or stopping; when its next thread ends, this runs again
        if self._timed is not runner.live:
            self._timed = runner.live
            runner.live.raw.call_later(max(0.0, self._left()), self._time_over)

    def _time_over(self) -> None:
        self._timed = None
        self._settle()


# The lineage's lock guards both. The second one has the id of the process that is watched.
_pools: weakref.WeakSet[ManagerPool] = weakref.WeakSet()
_watched: set[int] = set()


def _watch_main_thread() -> None:
    """Start a thread that stops all waiting managers as soon as the main thread has ended.

    The interpreter then waits for all non-daemon threads, and calls its exit hooks after that. A
    resource of a waiting manager may have such a thread (a connection of aiosqlite has one). That
    thread would never end.
    """
    with threads.lock():
        if os.getpid() in _watched:
            return
        _watched.add(os.getpid())

    def watch() -> None:
        threading.main_thread().join()
        with threads.lock():
            pools = list(_pools)
        for pool in pools:
            pool.stop_idle()

    start_thread(watch, "wsgi_async reuse")


def _check(max_idle: int, max_idle_time: float) -> None:
    if not isinstance(max_idle, Integral):
        raise TypeError(f"max_idle is {max_idle!r}. Give a whole number from one.")
    if max_idle < 1:
        raise ValueError(f"max_idle is {max_idle!r}. Give a whole number from one.")
    if not isinstance(max_idle_time, Real):
        raise TypeError(f"max_idle_time is {max_idle_time!r}. Give a number of seconds from zero.")
    if not 0 <= max_idle_time < math.inf:
        raise ValueError(f"max_idle_time is {max_idle_time!r}. Give a number of seconds from zero.")
