"""What the tests serve with gunicorn: an app that has the page under /inspect."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from wsgi_async import AsyncioLoopManager, AsyncLoopMiddleware, loop_from
from wsgi_async.inspector.app import mount

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment

manager = AsyncioLoopManager("<b>the worker's</b>")
manager.start()


async def inner() -> None:
    await asyncio.Event().wait()


async def waiting_for_ever() -> None:
    await inner()


manager.submit_task(waiting_for_ever())


async def started_later() -> None:
    await asyncio.Event().wait()


def view(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    if environ["PATH_INFO"] == "/more":
        loop_from(environ).submit_task(started_later())
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


app = mount(AsyncLoopMiddleware(view), "/inspect")
