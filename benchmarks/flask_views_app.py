"""A Flask app with an `async def` view, as Flask runs it or with the integration."""

from __future__ import annotations

from flask import Flask


async def answer() -> str:
    """Give the answer at once: so the time is that of the way to call."""
    return "ok"


def application(*, integrated: bool, watched: bool = False) -> Flask:
    """Make the app, in a process of its own.

    Args:
        integrated: whether it has an `AsyncLoop`.
        watched: whether the watchdog and the metrics are on.
    """
    app = Flask(__name__)

    @app.get("/")
    async def view() -> str:
        return await answer()

    if integrated:
        from wsgi_async.integrations.flask import AsyncLoop

        AsyncLoop(app)
    if watched:
        from wsgi_async.metrics import start_metrics
        from wsgi_async.watchdog import start_watchdog

        start_watchdog(run_longer_than=30)
        start_metrics()
    return app
