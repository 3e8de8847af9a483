"""Flask: with wsgi_async, its own async views, loops made by hand, or sync clients."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any

from flask import Flask, Response

from benchmarks.comparison.apps.clients import HERE, anew, calls, kept_by, once
from benchmarks.comparison.apps.views import (
    Views,
    events,
    in_async_views,
    in_sync_views,
    sync_events,
    with_sync_clients,
)


def ours(app: Flask) -> Views:
    """Call async code on loops of wsgi_async."""
    from wsgi_async import loop_resource
    from wsgi_async.integrations.flask import AsyncLoop, current_loop, stream

    AsyncLoop(app, **HERE.loop_options())

    def run(coro: Coroutine[Any, Any, str]) -> str:
        return current_loop.run(coro)

    return {
        **in_sync_views(calls(kept_by(loop_resource)), run),
        "stream": lambda: sent(stream(events())),
    }


def by_hand() -> Views:
    """Call it on a loop in a `threading.local`."""
    here = threading.local()

    def run(coro: Coroutine[Any, Any, str]) -> str:
        if not hasattr(here, "loop"):
            here.loop = asyncio.new_event_loop()
        return str(here.loop.run_until_complete(coro))

    return in_sync_views(calls(kept_by(once(here))), run)


def sent(body: Any) -> Response:
    """Send events."""
    return Response(body, mimetype="text/event-stream")


def views(app: Flask) -> Views:
    """Return the views of one way."""
    if HERE.way == "own":
        return in_async_views(calls(anew))
    if HERE.way == "limit":
        return by_hand()
    if HERE.way == "sync":
        return {**with_sync_clients(), "stream": lambda: sent(sync_events())}
    return ours(app)


def make() -> Flask:
    """Make the app."""
    app = Flask(__name__)
    for name, view in views(app).items():
        app.add_url_rule(f"/{name}", name, view)
    return app


application = make()
