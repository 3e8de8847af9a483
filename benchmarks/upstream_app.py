"""An app whose views make five HTTP calls each: with a client that is kept, or one per request.

The port to call is in the query string.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING

import httpx2
from flask import Flask, request

from wsgi_async import AsyncLoopMiddleware, loop_from, loop_resource

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

CALLS = 5
"""HTTP calls of one view, all at once."""

flask = Flask(__name__)

tls = httpx2.create_ssl_context()
"""Made once: it takes most of the time that making a client takes."""


@loop_resource
async def kept_client() -> AsyncIterator[httpx2.AsyncClient]:
    """Keep a client, with its connections, for each loop."""
    async with httpx2.AsyncClient() as client:
        yield client


async def ask(client: httpx2.AsyncClient, port: str) -> str:
    """Make the calls, all at once; return what all of them answered."""
    url = f"http://127.0.0.1:{port}/"
    answers = await asyncio.gather(*(client.get(url) for _ in range(CALLS)))
    for answer in answers:
        answer.raise_for_status()
    (text,) = {answer.text for answer in answers}
    return text


async def ask_with_kept(port: str) -> str:
    """Make the calls with the loop's client."""
    return await ask(await kept_client(), port)


async def ask_with_new(port: str) -> str:
    """Make the calls with a client that lives as long, the same as the one that is kept."""
    async with httpx2.AsyncClient() as client:
        return await ask(client, port)


async def ask_with_cheap(port: str) -> str:
    """Make the calls with a client that lives as long, as cheap as it can be had."""
    async with httpx2.AsyncClient(verify=tls, trust_env=False) as client:
        return await ask(client, port)


@flask.get("/ours")
def ours() -> str:
    """Call on the manager's loop, which has kept its client."""
    return loop_from(request.environ).run(ask_with_kept(request.args["port"]))


@flask.get("/asyncio-run")
def asyncio_run() -> str:
    """Make a loop and a client for each request."""
    return asyncio.run(ask_with_new(request.args["port"]))


@flask.get("/shared-tls")
def shared_tls() -> str:
    """Do the same with what a client and its like on another loop can share."""
    return asyncio.run(ask_with_cheap(request.args["port"]))


_with_loop = AsyncLoopMiddleware(flask.wsgi_app)


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Serve our view with the middleware, and the others as they would be without it."""
    served = _with_loop if environ["PATH_INFO"] == "/ours" else flask.wsgi_app
    return served(environ, start_response)
