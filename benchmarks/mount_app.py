"""A small ASGI app under WSGI: mounted by wsgi_async, or by a2wsgi."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

Message = MutableMapping[str, Any]

PARTS = 5
"""Parts of a stream."""

PART = b"part " * 200


async def app(
    scope: Message,
    receive: Callable[[], Awaitable[Message]],  # noqa: ARG001 - nothing is read
    send: Callable[[Message], Awaitable[None]],
) -> None:
    """Answer at once, with one part or with several: so the time is that of the way to call."""
    if scope["type"] != "http":
        raise RuntimeError("There is nothing to do before the first request.")
    headers = [(b"content-type", b"text/plain")]
    if scope["path"] == "/stream":
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for _ in range(PARTS):
            await send({"type": "http.response.body", "body": PART, "more_body": True})
        await send({"type": "http.response.body"})
    else:
        headers.append((b"content-length", b"2"))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ok"})


def application(*, ours: bool, loop: asyncio.AbstractEventLoop | None = None) -> WSGIApplication:
    """Make the WSGI application.

    Args:
        ours: whether it is mounted by wsgi_async.
        loop: what a2wsgi runs the app on; with none it starts a thread for a loop.
    """
    if ours:
        from wsgi_async.asgi import AsgiMount

        return AsgiMount(app)
    from a2wsgi import ASGIMiddleware

    return ASGIMiddleware(app, loop=loop)  # type: ignore[arg-type, return-value] # types of its own
