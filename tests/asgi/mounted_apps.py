"""Mounted apps for real WSGI servers; each tells what it does on its standard output."""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from fastapi import BackgroundTasks, FastAPI, Request
from starlette.applications import Starlette
from starlette.responses import StreamingResponse
from starlette.routing import Route

from wsgi_async import AsyncLoopMiddleware, loop_from
from wsgi_async.asgi import AsgiMount

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment


def say(line: str) -> None:
    os.write(1, f"{line}\n".encode())  # whole, though several threads do


@asynccontextmanager
async def lifespan(app: object) -> AsyncIterator[dict[str, Any]]:
    loop = id(asyncio.get_running_loop())
    say(f"started on {loop}")
    yield {"loop": loop}
    await asyncio.sleep(0.01)
    say(f"stopped on {loop}")


api = FastAPI(lifespan=lifespan)
meeting: threading.Barrier | None = None


@api.get("/loop")
async def where(request: Request) -> dict[str, Any]:
    """Where a request runs, and what its lifespan has for it."""
    loop = id(asyncio.get_running_loop())
    return {"loop": loop, "state": request.state.loop, "root_path": request.scope["root_path"]}


@api.get("/meet")
async def meet(parties: int) -> int:
    """Wait for other threads, so that each of them serves one."""
    global meeting
    if meeting is None:
        meeting = threading.Barrier(parties)
    # On the loop's thread: with one for each request, the others go on.
    await asyncio.to_thread(meeting.wait, 20)
    return id(asyncio.get_running_loop())


@api.get("/sync")
def sync(request: Request) -> bool:
    """A sync endpoint, in a thread of FastAPI's, finds the loop."""

    async def there() -> int:
        return id(asyncio.get_running_loop())

    return bool(loop_from(request).run(there()) == request.state.loop)


@api.get("/fails")
async def fails() -> None:
    raise LookupError("of the endpoint")


@api.get("/background")
async def background(tasks: BackgroundTasks, port: int) -> str:
    """Work after the response, which waits for the test."""
    tasks.add_task(call_back, port)
    return "answered"


async def call_back(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    line = await reader.readline()
    writer.write(line)
    writer.close()
    await writer.wait_closed()


async def told(request: Request) -> StreamingResponse:
    """Stream the lines that the test sends over a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(request.query_params["port"]))

    async def lines() -> AsyncIterator[bytes]:
        try:
            async for line in reader:
                yield line
        finally:
            writer.close()
            say("told stream closed")

    return StreamingResponse(lines())


async def echo(request: Request) -> StreamingResponse:
    """Send each piece of the request back as it comes."""
    return StreamingResponse(piece async for piece in request.stream() if piece)


async def ticking(request: Request) -> StreamingResponse:
    async def ticks() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"tick " * 1000
                await asyncio.sleep(0.01)
        finally:
            say("ticking stream closed")

    return StreamingResponse(ticks())


starlette = Starlette(
    routes=[
        Route("/told", told),
        Route("/echo", echo, methods=["POST"]),
        Route("/ticking", ticking),
    ]
)


class Both:
    """A WSGI application with two ASGI apps mounted in it, one below a path of its own."""

    def __init__(self) -> None:
        self.api = AsgiMount(api)
        self.starlette = AsgiMount(starlette)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path.startswith("/api/"):
            inner = {**environ, "SCRIPT_NAME": "/api", "PATH_INFO": path[4:]}
            return self.api(inner, start_response)
        return self.starlette(environ, start_response)


alone = Both()
wrapped = AsyncLoopMiddleware(Both())
processwide = AsyncLoopMiddleware(Both(), per="process")
