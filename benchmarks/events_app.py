"""An app that sends Server-Sent Events: each says when it was made, in nanoseconds.

The number of events is in the query string. CLOCK_MONOTONIC is the same for all processes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Iterator

from flask import Flask, Response, request

from wsgi_async import AsyncLoopMiddleware, loop_from

SPACING = 0.003
"""Seconds between two events: the one before has arrived, and all wait for the next."""

flask = Flask(__name__)


def event() -> bytes:
    """Make an event now."""
    return b"data: %d\n\n" % time.monotonic_ns()


async def events(count: int) -> AsyncIterator[bytes]:
    """Make an event from time to time."""
    for _ in range(count):
        await asyncio.sleep(SPACING)
        yield event()


def sync_events(count: int) -> Iterator[bytes]:
    """Do the same without async code."""
    for _ in range(count):
        time.sleep(SPACING)
        yield event()


def sent(body: Iterable[bytes]) -> Response:
    """Send events."""
    return Response(body, mimetype="text/event-stream")


@flask.get("/plain")
def plain() -> Response:
    """Send the events of a sync generator."""
    return sent(sync_events(request.args.get("events", 0, int)))


@flask.get("/iterate")
def iterate() -> Response:
    """Send the events of an async generator, an item each time that the server asks for one."""
    loop = loop_from(request.environ)
    return sent(loop.iterate(events(request.args.get("events", 0, int))))


@flask.get("/prefetch")
def prefetch() -> Response:
    """Send the events of an async generator that runs ahead."""
    loop = loop_from(request.environ)
    return sent(loop.iterate(events(request.args.get("events", 0, int)), prefetch=16))


application = AsyncLoopMiddleware(flask.wsgi_app)
