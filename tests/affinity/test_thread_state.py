"""Coroutines that keep state of their thread over awaits: thread-locals, locks, asgiref's Local."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import wait
from typing import TYPE_CHECKING

import pytest
from asgiref.local import Local

from tests.core.support import LIMIT, Worker, on_worker, outcome, reached

if TYPE_CHECKING:
    from tests.core.conftest import MakeManager
    from wsgi_async import AsyncioLoopManager

STEPS = 30
"""Awaits that each coroutine makes with its thread's state in hand."""

language = Local()
strict_language = Local(thread_critical=True)


class Bound:
    """Coroutines whose state belongs to the thread that has made it."""

    def __init__(self) -> None:
        self.local = threading.local()
        self.lock = threading.RLock()

    async def keep(self, name: str, steps: int = STEPS) -> set[int]:
        """Keep a value of the thread over awaits of several kinds; the threads it was stepped by.

        Several of these run on one thread in turn, so each has a name of its own.
        """
        threads = {threading.get_ident()}
        setattr(self.local, name, name)
        for step in range(steps):
            if step % 3 == 0:
                await asyncio.sleep(0)
            elif step % 3 == 1:
                await asyncio.sleep(0.0005)
            else:
                await asyncio.get_running_loop().run_in_executor(None, threading.get_ident)
            threads.add(threading.get_ident())
            assert getattr(self.local, name, None) == name
        delattr(self.local, name)
        return threads

    async def lock_over(self, steps: int = STEPS) -> set[int]:
        """Hold a reentrant lock over awaits: release() raises in any thread but the first."""
        threads = set()
        lock = threading.RLock()
        lock.acquire()
        for step in range(steps):
            threads.add(threading.get_ident())
            await asyncio.sleep(0.0005 * (step % 2))
            assert lock.acquire(blocking=False)  # it is ours
        for _ in range(steps + 1):
            await asyncio.sleep(0)
            lock.release()
        threads.add(threading.get_ident())
        return threads


async def both(bound: Bound, name: str, steps: int = STEPS) -> int:
    """Keep a value and hold a lock; the one thread that has done it all."""
    threads = await bound.keep(name, steps) | await bound.lock_over(steps)
    assert len(threads) == 1, threads
    return threads.pop()
