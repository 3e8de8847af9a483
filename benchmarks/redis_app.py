"""An app whose views make several Redis GETs, each by a call into async code."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

from flask import Flask, request
from redis.asyncio import Redis

from benchmarks.redis_server import KEY
from wsgi_async import AsyncLoopMiddleware, loop_from, loop_resource

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

COMPUTING = 0.1
"""Seconds that a CPU-bound request takes, when it has the interpreter for itself."""

LoopFactory = Callable[[], asyncio.AbstractEventLoop]
Get = Callable[[], object]


def application(redis_port: int, way: str) -> WSGIApplication:
    """Make the app, in a process of its own.

    Args:
        redis_port: where Redis is.
        way: "limit", "process" for one manager, or anything else for one per thread, which lives
            where the server's threads let it live; with "uvloop_" before it on uvloop.
    """
    factory = uvloop() if way.startswith("uvloop_") else None
    if way.endswith("limit"):
        return views(limit(redis_port, factory or asyncio.new_event_loop)).wsgi_app
    return AsyncLoopMiddleware(
        views(ours(redis_port)).wsgi_app,
        per="process" if way.endswith("process") else "thread",
        loop_factory=factory,
    )


def uvloop() -> LoopFactory:
    """Return what makes loops of uvloop."""
    import uvloop

    factory: LoopFactory = uvloop.new_event_loop
    return factory


def connect(port: int) -> Redis:
    """Make a client, for one loop."""
    return Redis(port=port, decode_responses=True)


def ours(port: int) -> Get:
    """Return a GET on the request's loop, which keeps its client."""

    @loop_resource
    async def client() -> AsyncIterator[Redis]:
        async with connect(port) as opened:
            yield opened

    async def get() -> object:
        return await (await client()).get(KEY)

    return lambda: loop_from(request.environ).run(get())


def limit(port: int, loop_factory: LoopFactory) -> Get:
    """Return a GET on a loop of the thread that calls, which is what asyncio itself takes."""

    class Here(threading.local):
        def __init__(self) -> None:
            self.loop = loop_factory()
            self.client = connect(port)

    here = Here()

    async def get() -> object:
        return await here.client.get(KEY)

    return lambda: here.loop.run_until_complete(get())


def views(get: Get) -> Flask:
    """Make the Flask app."""
    flask = Flask(__name__)

    def several(count: int) -> str:
        (text,) = {get() for _ in range(count)}
        return str(text)

    @flask.get("/ten")
    def ten() -> str:
        return several(10)

    @flask.get("/three")
    def three() -> str:
        return several(3)

    @flask.get("/compute")
    def compute() -> str:
        end = time.thread_time() + COMPUTING
        number = 1
        while time.thread_time() < end:
            for _ in range(1000):
                number = number * 1103515245 + 12345 & 0x7FFFFFFF
        return str(number)

    return flask
