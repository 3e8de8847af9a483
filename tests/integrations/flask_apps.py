"""The Flask application that a real server runs for the tests."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING, Any

import httpx2
from flask import Flask, Response, g, request

from wsgi_async import loop_resource
from wsgi_async.integrations.flask import AsyncLoop, current_loop, stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

app = Flask(__name__)
AsyncLoop(app, reuse="REUSE" in os.environ)

_outcomes: dict[str, asyncio.Future[str]] = {}


def say(line: str) -> None:
    """Write a line to the log, in one piece."""
    os.write(2, f"{line}\n".encode())


@loop_resource
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    """Keeps its connections open from one request to the next."""
    async with httpx2.AsyncClient(timeout=20) as one:
        yield one


@app.get("/where")
async def where() -> dict[str, Any]:
    """Where the view runs, and what a new connection would change."""
    await asyncio.sleep(0)
    return {"thread": threading.get_ident(), "loop": id(asyncio.get_running_loop())}


@app.get("/fetch")
async def fetch() -> str:
    """What another server answers."""
    return (await (await client()).get(request.args["url"])).text


@app.get("/call_back")
async def call_back() -> dict[str, Any]:
    """Talk to the test, and do not wait for it."""
    _outcomes["talk"] = asyncio.ensure_future(_talk(int(request.args["port"])))
    return {}


async def _talk(port: int) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"hello\n")
    heard = (await reader.readline()).decode().strip()
    writer.write(f"you said {heard}\n".encode())
    await writer.drain()
    writer.close()
    return heard


@app.get("/outcome")
async def outcome() -> dict[str, str]:
    """What came of that."""
    return {"heard": await _outcomes["talk"]}


@app.get("/endless")
def endless() -> Response:
    """A stream that ends with its client."""
    g.place = "a seat"
    return Response(stream(_pieces()), mimetype="text/plain")


async def _pieces() -> AsyncIterator[str]:
    try:
        while True:
            yield f"{request.path} " * 10_000
            await asyncio.sleep(0)
    finally:
        await asyncio.sleep(0)
        say(f"generator closed on {request.path} with {g.place}")


@app.teardown_request
async def leave(_: BaseException | None) -> None:
    """Say when the request is over."""
    await asyncio.sleep(0)
    say(f"teardown of {request.path}, loop {current_loop.running}")
