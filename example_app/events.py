"""The live page: Server-Sent Events, from an async generator on the loop of a worker thread.

The checker may live in another process, so a stream looks into the database for what is new. What
it sends is the state of the board, not what has happened: a page that was away for a while needs
the last event only, and the event's id tells whether it has seen that.
"""

import asyncio
import logging
import socket
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

from example_app.database import DatabaseError
from example_app.store import Snapshot, Store

LOOK_SECONDS = 0.25
# A server notices that a client has gone when it writes, and mostly at the second time.
HEARTBEAT_SECONDS = 1.0
RETRY_MS = 1000

log = logging.getLogger(__name__)


def has_gone(environ: Mapping[str, Any]) -> bool:
    """Whether the client has closed its connection, as far as the server lets us see that.

    A page that is left or loaded anew gives its place back at once, and not at some later write.
    """
    connection: socket.socket | None = environ.get("gunicorn.socket")
    try:
        # A look at what has come, which leaves it there.
        flags = socket.MSG_PEEK | socket.MSG_DONTWAIT
        return connection is not None and connection.recv(1, flags) == b""
    except (BlockingIOError, ValueError):
        return False  # it is open and silent, or encrypted
    except OSError:
        return True


async def board_events(
    store: Store,
    render: Callable[[Snapshot], str],
    *,
    seen: str | None,
    checks: int,
    seconds: float,
    gone: Callable[[], bool] = lambda: False,
) -> AsyncGenerator[str, None]:
    """The text of a stream: an event whenever the board has changed, and signs of life.

    `wsgi_async` ends it where the worker process is to end.

    Args:
        store: the board's data.
        render: makes an event's data.
        seen: the version that the page shows already.
        checks: how many checks of each address an event is about.
        seconds: how long the stream lasts.
        gone: whether nobody listens any more.
    """
    yield f"retry: {RETRY_MS}\n\n"
    written = time.monotonic()
    # A stream holds one of few worker threads. It ends soon, so that all pages get their turn; the
    # browser asks again by itself, and tells what it has seen.
    until = written + seconds
    while time.monotonic() < until and not gone():
        try:
            news = await _news(store, seen, checks)
        except DatabaseError:
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
