"""Bottle: wrap the app, and find the loop by the request."""

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
    """In a real app, a client or a connection pool. Opened once for each loop."""
    numbers: asyncio.Queue[int] = asyncio.Queue()
    for number in range(1, 100):
        numbers.put_nowait(number)
    yield numbers


async def draw() -> int:
    return await (await ticket_numbers()).get()


@bottle.get("/ticket")
def ticket() -> dict[str, Any]:
    return {"number": loop_from(request).run(draw(), timeout=5)}


app = AsyncLoopMiddleware(bottle)
