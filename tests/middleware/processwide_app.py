"""An application with one manager for each process, which gunicorn's master has used already."""

from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING

from tests.middleware.wsgi import ignore_start, make_environ
from wsgi_async import AsyncLoopMiddleware, loop_from

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment


async def keep() -> None:
    """Background work whose cleanup leaves a line in the log."""
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0)
        os.write(2, f"cleaned in {os.getpid()}\n".encode())


async def process() -> int:
    await asyncio.sleep(0)
    return os.getpid()


begun: set[int] = set()


def plain(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    loop = loop_from(environ)
    if id(loop) not in begun:
        begun.add(id(loop))
        loop.submit_task(keep())
    answer = {"manager": id(loop), "ran_in": loop.run(process()), "pid": os.getpid()}
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(answer).encode()]


app = AsyncLoopMiddleware(plain, per="process")
app(make_environ(), ignore_start)
