"""Applications for a real uvicorn; each tells what it does on its standard output."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

import wsgi_async
from wsgi_async import loop_from, loop_resource, scope_from
from wsgi_async.asgi import AsyncLoopMiddleware

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

opened = 0


def say(line: str) -> None:
    print(line, flush=True)


@loop_resource
async def client() -> AsyncIterator[int]:
    """Stands for a client with a pool."""
    global opened
    opened += 1
    yield opened
    say("client closed")


async def loop_and_client() -> tuple[int, int]:
    return id(asyncio.get_running_loop()), await client()


async def keep_going() -> None:
    say("task begun")
    try:
        await asyncio.Event().wait()
    finally:
        say("task cleaned up")


api = FastAPI()


@api.get("/ways")
def ways(request: Request) -> dict[str, Any]:
    """All ways to the loop, in a thread."""
    loop = loop_from(request)

    async def numbers() -> AsyncIterator[int]:
        for number in range(3):
            await asyncio.sleep(0)
            yield number

    with loop.wrap_async_context_manager(asyncio.Lock()):
        found = [
            loop.run(loop_and_client()),
            wsgi_async.run(loop_and_client()),
            loop.submit_task(loop_and_client()).result(10),
        ]
    return {
        "found": found,
        "numbers": list(loop.iterate(numbers())),
        "thread": threading.current_thread().name,
        "manager": repr(loop),
    }


@api.get("/loop")
async def server_loop(request: Request) -> int:
    """The server's own loop."""
    assert loop_from(request) is loop_from(request.scope)
    return id(asyncio.get_running_loop())


@api.get("/late")
def late(request: Request) -> list[str]:
    """What comes of waits that are too long: of the block's limit, and of the middleware's."""
    found = []
    for seconds in (0.05, None):
        try:
            with scope_from(request).timeout(seconds):
                loop_from(request).run(asyncio.sleep(60))
        except TimeoutError as error:
            found.append(str(error))
    return found


@api.get("/scoped")
def scoped(request: Request) -> str:
    """A task that ends with the request."""
    scope_from(request).submit_task(keep_going())
    loop_from(request).run(asyncio.sleep(0))
    return "done"


@api.get("/kept")
def kept(request: Request) -> str:
    """A task that goes on after the request."""
    loop_from(request).submit_task(keep_going())
    loop_from(request).run(asyncio.sleep(0))
    return "done"


@api.get("/failed")
def failed(request: Request) -> None:
    """A task whose failure the log tells, with the request."""

    async def fail() -> None:
        raise LookupError("nothing there")

    loop_from(request).submit_task(fail())


@api.get("/stream")
def stream(request: Request) -> StreamingResponse:
    """A sync stream over an async generator."""
    loop = loop_from(request)

    async def numbers() -> AsyncIterator[str]:
        for number in range(3):
            yield f"{number}\n"

    def body() -> Iterator[str]:
        with loop.iterate(numbers()) as lines:
            yield from lines

    return StreamingResponse(body())


app = AsyncLoopMiddleware(
    api, timeout=2, on_start=lambda: say("started"), on_stop=lambda: say("stopping")
)
