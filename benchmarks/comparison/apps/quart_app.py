"""Quart, with clients that live as long as its one loop."""

from __future__ import annotations

from types import SimpleNamespace

from quart import Quart, Response

from benchmarks.comparison.apps.clients import calls, kept_by, once
from benchmarks.comparison.apps.views import events, in_async_views


async def stream() -> Response:
    """Send events."""
    return Response(events(), mimetype="text/event-stream")


def make() -> Quart:
    """Make the app; Quart runs sync views in threads."""
    app = Quart(__name__)
    views = in_async_views(calls(kept_by(once(SimpleNamespace()))))
    for name, view in {**views, "stream": stream}.items():
        app.add_url_rule(f"/{name}", name, view)
    return app


application = make()
