"""Streams, which a test lets go on item by item."""

from __future__ import annotations

import asyncio
from threading import get_ident
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.db import connections
from django.http import JsonResponse, StreamingHttpResponse

from wsgi_async import loop_from

from .models import Entry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_released: asyncio.Event | None = None
_loop: asyncio.AbstractEventLoop | None = None


async def _lines(request: Any) -> AsyncIterator[str]:
    global _released, _loop
    _released, _loop = asyncio.Event(), asyncio.get_running_loop()
    thread, task = get_ident(), asyncio.current_task()
    try:
        yield "first\n"
        await _released.wait()
        while "endless" in request.GET:
            yield "more\n" * 1000
            await asyncio.sleep(0)
        yield "second\n"
    finally:
        # With the request's connection, in the stream's own task, before Django closes it.
        same = {
            "task": task is asyncio.current_task(),
            "thread": get_ident() == thread,
            "orm": await sync_to_async(get_ident)() == request.worker,
            "connection": await sync_to_async(lambda: id(connections["default"]))()
            == request.connection,
        }
        text = " ".join(name for name in same if same[name])
        await Entry.objects.acreate(text=f"{request.GET['name']} closed, same {text}")


async def stream(request: Any) -> StreamingHttpResponse:
    """A line; the next when it is released."""
    return StreamingHttpResponse(_lines(request), content_type="text/plain")


def release(request: Any) -> JsonResponse:
    """Let the stream go on."""
    assert _loop is not None
    assert _released is not None
    _loop.call_soon_threadsafe(_released.set)
    return JsonResponse({})


async def _rows() -> AsyncIterator[bytes]:
    async for entry in Entry.objects.order_by("pk").aiterator(chunk_size=100):
        yield f"{entry.text}\n".encode()


async def rows(request: Any) -> StreamingHttpResponse:
    """The table, as it is read."""
    await Entry.objects.all().adelete()
    await Entry.objects.abulk_create(Entry(text=f"row {number}") for number in range(300))
    return StreamingHttpResponse(_rows())


def from_sync_view(request: Any) -> StreamingHttpResponse:
    """A sync view's, with text that is to be encoded."""

    async def words() -> AsyncIterator[str]:
        loop = asyncio.get_running_loop()
        yield "grün "
        yield str(loop is loop_from(request.environ).get_event_loop())

    return StreamingHttpResponse(words())


async def broken(request: Any) -> StreamingHttpResponse:
    """It fails in the middle."""

    async def words() -> AsyncIterator[str]:
        yield "one"
        raise RuntimeError("in the middle of a stream")

    return StreamingHttpResponse(words())
