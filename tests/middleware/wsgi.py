"""What a WSGI server does, for the tests that call the middleware by hand."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from wsgiref.util import setup_testing_defaults

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

LIMIT = 20.0
"""Seconds after which whatever a test waits for has failed."""


def make_environ(**extra: object) -> WSGIEnvironment:
    """A complete WSGI environ."""
    environ: dict[str, Any] = {}
    setup_testing_defaults(environ)
    return {**environ, **extra}


def ignore_start(status: str, headers: list[tuple[str, str]], exc_info: Any = None, /) -> Any:
    """A start_response that takes anything."""
    return lambda piece: None


def serve(app: WSGIApplication, environ: WSGIEnvironment | None = None) -> bytes:
    """Run one request as a server does, and close the body; what was sent."""
    body = app(make_environ() if environ is None else environ, ignore_start)
    try:
        return b"".join(body)
    finally:
        close = getattr(body, "close", None)
        if close is not None:
            close()


def answer_ok(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """An application that does not care."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]


async def running_loop() -> asyncio.AbstractEventLoop:
    """The loop that this coroutine runs on."""
    await asyncio.sleep(0)
    return asyncio.get_running_loop()
