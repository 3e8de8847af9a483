"""Pyramid: the loop as a property of the request."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pyramid.config import Configurator
from pyramid.response import Response

from wsgi_async import AsyncioLoopManager, AsyncLoopMiddleware, loop_from

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pyramid.request import Request


def loop(request: Request) -> AsyncioLoopManager:
    """`request.loop`, in all views."""
    return loop_from(request)


async def greet(name: str) -> str:
    await asyncio.sleep(0.01)  # in a real app: a database, another service
    return f"Hello, {name}!"


async def count(up_to: int) -> AsyncIterator[bytes]:
    for number in range(1, up_to + 1):
        await asyncio.sleep(0.01)
        yield b"%d\n" % number


def hello(request: Request) -> Response:
    return Response(request.loop.run(greet(request.matchdict["name"]), timeout=5))


def counting(request: Request) -> Response:
    """Send each piece when the generator yields it."""
    return Response(app_iter=request.loop.iterate(count(3)), content_type="text/plain")


with Configurator() as config:
    config.add_request_method(loop, reify=True)
    config.add_route("hello", "/hello/{name}")
    config.add_route("counting", "/counting")
    config.add_view(hello, route_name="hello")
    config.add_view(counting, route_name="counting")
app = AsyncLoopMiddleware(config.make_wsgi_app())
