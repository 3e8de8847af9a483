"""Tasks that a context manager starts, and that call sync functions while nobody calls it."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from asgiref.sync import sync_to_async

from tests.async_to_sync.parts import make, on_thread
from tests.core.support import LIMIT, in_process, say

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def reading() -> AsyncIterator[asyncio.Queue[int]]:
    """Has a task that reads by a sync function, as an SDK's session does."""
    read: asyncio.Queue[int] = asyncio.Queue()

    async def reader() -> None:
        read.put_nowait(await sync_to_async(threading.get_ident)())

    task = asyncio.create_task(reader())
    yield read
    await task


def child(mode: str) -> None:
    """A thread waits for what such a task reads."""

    def use() -> None:
        manager = make()
        with manager.wrap_async_context_manager(reading()) as read:
            assert manager.run(read.get(), timeout=LIMIT) != threading.get_ident()
        manager.stop()

    on_thread(mode, use)
    say("read")


def test_a_task_reads_for_a_thread_that_waits_for_it(mode: str) -> None:
    """Its sync function runs elsewhere: the thread is in another call, and would block itself."""
    assert in_process(child, mode) == "read\n"
