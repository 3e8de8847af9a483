"""Starlette, with clients that live as long as its one loop."""

from __future__ import annotations

from collections.abc import Callable
from inspect import iscoroutinefunction
from types import SimpleNamespace
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

from benchmarks.comparison.apps.clients import calls, kept_by, once
from benchmarks.comparison.apps.views import events, in_async_views


async def stream(_: Request) -> StreamingResponse:
    """Send events."""
    return StreamingResponse(events(), media_type="text/event-stream")


def endpoint(view: Callable[[], Any]) -> Callable[[Request], Any]:
    """Return a view as Starlette takes it; a sync one runs in a thread there."""
    if not iscoroutinefunction(view):
        return lambda _: PlainTextResponse(view())

    async def answer(_: Request) -> PlainTextResponse:
        return PlainTextResponse(await view())

    return answer


def make() -> Starlette:
    """Make the app."""
    views = in_async_views(calls(kept_by(once(SimpleNamespace()))))
    routes = [Route(f"/{name}", endpoint(view)) for name, view in views.items()]
    return Starlette(routes=[*routes, Route("/stream", stream)])


application = make()
