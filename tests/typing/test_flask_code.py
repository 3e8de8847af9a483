"""Code as a user of the Flask integration would write it; see `test_user_code.py`."""
# pyright: reportUnnecessaryTypeIgnoreComment=error

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, assert_type

from flask import Flask, Response

from wsgi_async import AsyncioLoopManager
from wsgi_async.integrations.flask import AsyncLoop, current_loop, stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

async_loop = AsyncLoop(reuse=True)


async def length(text: str) -> int:
    await asyncio.sleep(0)
    return len(text)


async def pieces(text: str) -> AsyncIterator[str]:
    for letter in text:
        await asyncio.sleep(0)
        yield letter


async def view() -> dict[str, Any]:
    return {"length": await length("four")}


def test_a_flask_app_is_typed_through() -> None:
    """Types go through `current_loop` and `stream()`, and a wrong argument is found."""
    app = Flask(__name__)
    async_loop.init_app(app)
    app.get("/")(view)

    @app.get("/stream/<text>")
    def streamed(text: str) -> Response:
        assert_type(current_loop, AsyncioLoopManager)
        assert_type(current_loop.run(length(text)), int)
        body: Iterator[str] = stream(pieces(text), prefetch=1)
        make = stream(pieces)
        other: Iterator[str] = make(text)
        if not text:
            make(1)  # type: ignore[arg-type]
            stream(length)  # type: ignore[arg-type]
        del other
        return Response(body)

    @app.get("/events/<text>")
    @stream(mimetype="text/event-stream", prefetch=1)
    async def events(text: str) -> AsyncIterator[str]:
        async for piece in pieces(text):
            yield piece

    @stream(prefetch=1)
    async def ahead(text: str) -> AsyncIterator[str]:
        yield text

    @app.get("/made/<text>")
    def made(text: str) -> Response:
        if not text:
            assert_type(events(text), Response)
            items: Iterator[str] = ahead(text)
            events(1)  # type: ignore[arg-type]
            ahead(1)  # type: ignore[arg-type]
            del items
        return stream(pieces(text), mimetype="text/plain")

    client = app.test_client()
    assert client.get("/events/four").text == "four"
    assert client.get("/made/four").text == "four"
    assert client.get("/").json == {"length": 4}
    assert client.get("/stream/four").text == "four"
