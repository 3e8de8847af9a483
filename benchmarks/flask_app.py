"""An app whose views give the same answer in different ways."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING

from flask import Flask, request

from wsgi_async import AsyncLoopMiddleware, loop_from

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

flask = Flask(__name__)


async def answer() -> str:
    """Give the answer at once: so the time is that of the way to call."""
    return "ok"


@flask.get("/plain")
def plain() -> str:
    """Answer without any async code."""
    return "ok"


@flask.get("/ours")
def ours() -> str:
    """Call async code on the manager's loop."""
    return loop_from(request.environ).run(answer())


@flask.get("/flask-async")
async def flask_async() -> str:
    """Be an async view, as Flask has them."""
    return await answer()


@flask.get("/asyncio-run")
def asyncio_run() -> str:
    """Make a loop for each request."""
    return asyncio.run(answer())


_with_loop = AsyncLoopMiddleware(flask.wsgi_app)


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Serve our view with the middleware, and the others as they would be without it."""
    served = _with_loop if environ["PATH_INFO"] == "/ours" else flask.wsgi_app
    return served(environ, start_response)
