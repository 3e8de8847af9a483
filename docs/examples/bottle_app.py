"""Bottle: the middleware around the app, and the loop from the request's environ."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from bottle import Bottle, request

from wsgi_async import AsyncLoopMiddleware, loop_from, loop_resource

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

bottle = Bottle()


@loop_resource
async def ticket_numbers() -> AsyncIterator[asyncio.Queue[int]]:
    """In earnest a client or a connection pool: opened once for each loop, and closed with it."""
    numbers: asyncio.Queue[int] = asyncio.Queue()
    for number in range(1, 100):
        numbers.put_nowait(number)
    yield numbers


async def draw() -> int:
    return await (await ticket_numbers()).get()


@bottle.get("/ticket")
def ticket() -> dict[str, Any]:
    return {"number": loop_from(request.environ).run(draw(), timeout=5)}


app = AsyncLoopMiddleware(bottle)
