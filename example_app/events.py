"""The live page: Server-Sent Events, from an async generator on the loop of a worker thread.

The checker may live in another process, so a stream looks into the database for what is new. What
it sends is the state of the board, not what has happened: a page that was away for a while needs
the last event only, and the event's id tells whether it has seen that.
"""

import asyncio
import logging
import sqlite3
import threading
import time
from collections.abc import AsyncGenerator, Callable

from example_app.store import Snapshot, Store

LOOK_SECONDS = 0.25
# A server notices that a client has gone when it writes, and mostly at the second time.
HEARTBEAT_SECONDS = 3.0
RETRY_MS = 1000

log = logging.getLogger(__name__)


class Streams:
    """The streams of one process; lives as long as the app. From any thread.

    Args:
        limit: how many there may be at once. Each one holds a worker thread.
    """

    def __init__(self, limit: int) -> None:
        self._free = threading.Semaphore(limit)

    def begin(self) -> bool:
        """Take a place; False when none is free."""
        return self._free.acquire(blocking=False)

    def end(self) -> None:
        """Give the place back."""
        self._free.release()


async def board_events(
    store: Store,
    render: Callable[[Snapshot], str],
    *,
    seen: str | None,
    checks: int,
    seconds: float,
) -> AsyncGenerator[str, None]:
    """The text of a stream: an event whenever the board has changed, and signs of life.

    `wsgi_async` ends it where the worker process is to end.

    Args:
        store: the board's data.
        render: makes an event's data.
        seen: the version that the page shows already.
        checks: how many checks of each address an event is about.
        seconds: how long the stream lasts.
    """
    yield f"retry: {RETRY_MS}\n\n"
    written = time.monotonic()
    # A stream holds one of few worker threads. It ends soon, so that all pages get their turn; the
    # browser asks again by itself, and tells what it has seen.
    until = written + seconds
    while time.monotonic() < until:
        try:
            news = await _news(store, seen, checks)
        except sqlite3.Error:
            log.exception("The database cannot be used; a stream ends")
            return
        if news is not None:
            seen = news.version
            yield _event(seen, render(news))
            written = time.monotonic()
        elif time.monotonic() - written >= HEARTBEAT_SECONDS:
            yield ": nothing new\n\n"
            written = time.monotonic()
        await asyncio.sleep(LOOK_SECONDS)


async def _news(store: Store, seen: str | None, checks: int) -> Snapshot | None:
    if await store.version() == seen:
        return None
    return await store.snapshot(checks=checks)


def _event(version: str, data: str) -> str:
    lines = "".join(f"data: {line}\n" for line in data.splitlines())
    return f"id: {version}\n{lines}\n"
