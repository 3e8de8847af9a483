"""Find what a test leaves behind: managers, tasks, event loops and threads that are new.

Things that are about to end get a moment to do so. Each leak is reported once, as the thing that
has to be ended: a manager that still runs, but not its loop and its keeper; a thread, but not the
loop that it runs.
"""

from __future__ import annotations

import asyncio
import fnmatch
import gc
import threading
import time
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING

from wsgi_async.core import AsyncioLoopManager
from wsgi_async.core.life.executor import LoopExecutor
from wsgi_async.core.managers.manager import lifecycle_of

from .found import living, name_of_loop, name_of_thread, threads_of
from .unfinished import left_on, outlast, unfinished

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .found import Pool

__all__ = ["LeakCheck"]

_LEAST = 0.05
"""Seconds that each thread gets to end, even if another thread has used up the time."""


class LeakCheck:
    """A snapshot taken before a test, for comparison with the state after it.

    Create it and call its methods in the thread that runs the test. It keeps nothing alive.

    Args:
        grace: Seconds to wait for tasks, loops and threads that are about to end.
        ignored_threads: `fnmatch` patterns for the names of threads to ignore.
    """

    def __init__(self, *, grace: float = 1.0, ignored_threads: Iterable[str] = ()) -> None:
        self._grace = grace
        self._ignored = tuple(ignored_threads)
        self._noted: list[str] = []  # left on managers that have been stopped since
        loops, pools = living()
        self._loops = weakref.WeakSet(loops)
        self._pools = weakref.WeakSet(pools)
        self._threads = weakref.WeakSet(threading.enumerate())
        self._managers = weakref.WeakSet(_running())
        self._work: weakref.WeakSet[object] = weakref.WeakSet()
        for manager in self._managers:
            self._work.update(unfinished(manager))
        for loop in _nobodys(loops):
            self._work.update(asyncio.all_tasks(loop))

    def look_at(self, manager: AsyncioLoopManager) -> None:
        """Note the tasks on a manager that is about to be stopped."""
        self._noted += outlast(manager, self._work, self._deadline())

    def leaks(self) -> list[str]:
        """Describe each leak and how to fix it. Waits for things that are about to end."""
        loops, pools = living()
        deadline = self._deadline()  # after living(), which takes time in a large process
        older = [loop for loop in loops if loop in self._loops]
        loops = [loop for loop in loops if loop not in self._loops]
        # This list holds loops that nothing else holds, so that they are still found unclosed after
        # the collector has run. Pools are not held, so that their threads can end. A manager's pool
        # is shut down with the manager.
        known = weakref.WeakSet(
            pool for pool in pools if pool in self._pools or type(pool) is LoopExecutor
        )
        del pools
        self._let_end(known, deadline)
        managers = _running()
        return [
            *self._noted,
            *self._left_managers(managers),
            *(leak for one in managers for leak in outlast(one, self._work, deadline)),
            *(leak for one in _nobodys(older) for leak in left_on(one, self._work)),
            # A running loop belongs to a thread. If the thread is new, it is named itself. If it is
            # older, it may be in the middle of an asyncio.run().
            *(name_of_loop(one) for one in _nobodys(loops) if not one.is_running()),
            *map(name_of_thread, self._new_threads(known)),
        ]

    def _deadline(self) -> float:
        return time.monotonic() + self._grace

    def _let_end(self, pools: Iterable[Pool], deadline: float) -> None:
        threads = self._new_threads(pools)
        if threads:
            gc.collect()  # ends the threads of pools that nothing holds
        _join(threads, deadline)
        # After the join, because a manager is told to stop when its thread ends.
        for manager in _running():
            if manager not in self._managers and manager.state == "stopping":
                with suppress(RuntimeError):  # raised if this thread runs an event loop
                    manager.stop(max(0.0, deadline - time.monotonic()))
        _join(self._new_threads(pools), deadline)

    def _new_threads(self, pools: Iterable[Pool]) -> list[threading.Thread]:
        """Threads that did not exist before, except those that belong to something older."""
        known = {thread for pool in pools for thread in threads_of(pool)}
        return [
            thread
            for thread in threading.enumerate()
            if thread not in self._threads and thread not in known and not self._ignores(thread)
        ]

    def _ignores(self, thread: threading.Thread) -> bool:
        # A dummy stands for a thread that `threading` has not started, and cannot be joined. There
        # is no public way to recognize one. Our own threads live as long as a manager or a thread,
        # which is named instead.
        return (
            isinstance(
                thread,
                threading._DummyThread,  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
            )
            or thread.name.startswith("wsgi_async ")
            or any(fnmatch.fnmatchcase(thread.name, pattern) for pattern in self._ignored)
        )

    def _left_managers(self, managers: list[AsyncioLoopManager]) -> list[str]:
        return [
            f"{manager!r}, started in the test and not stopped. Call its stop(), or use the "
            "fixture `loop_manager`."
            for manager in managers
            if manager not in self._managers
            and not (lifecycle_of(manager).lasting and manager.running)
        ]


def _running() -> list[AsyncioLoopManager]:
    managers = AsyncioLoopManager.all_instances()
    return [one for one in managers if one.state in ("running", "stopping")]


def _join(threads: list[threading.Thread], deadline: float) -> None:
    for thread in threads:
        thread.join(max(_LEAST, deadline - time.monotonic()))


def _nobodys(loops: list[asyncio.AbstractEventLoop]) -> list[asyncio.AbstractEventLoop]:
    """The loops that belong to no manager, and are not closed."""
    managed = {id(runner.live.raw) for one in _running() if (runner := lifecycle_of(one).runner)}
    return [loop for loop in loops if not (loop.is_closed() or id(loop) in managed)]
