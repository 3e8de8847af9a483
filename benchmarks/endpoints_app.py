"""A FastAPI app whose sync endpoint calls a coroutine: by wsgi_async, or by anyio.

`python -m benchmarks.endpoints_app DESCRIPTOR WAY` serves it with uvicorn on an inherited socket.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from fastapi import FastAPI
from fastapi.responses import PlainTextResponse

from benchmarks.work import noop


def application(way: str) -> Any:
    """Make the app. Only ours has the middleware: anyio needs none."""
    api = FastAPI()
    call = calls()[way]

    @api.get("/", response_class=PlainTextResponse)
    def view() -> str:
        call()
        return "ok"

    if way == "anyio":
        return api
    from wsgi_async.asgi import AsyncLoopMiddleware

    return AsyncLoopMiddleware(api)


def calls() -> dict[str, Callable[[], object]]:
    """Return how each contender calls the coroutine from the endpoint's thread."""
    import anyio.from_thread

    import wsgi_async

    return {
        "ours": lambda: wsgi_async.run(noop()),
        "anyio": partial(anyio.from_thread.run, noop),
    }


def serve(descriptor: int, way: str) -> None:
    """Serve until the process is ended."""
    import uvicorn

    config = uvicorn.Config(application(way), log_level="warning", access_log=False)
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=descriptor)])


if __name__ == "__main__":
    serve(int(sys.argv[1]), sys.argv[2])
