"""The Flask application that waitress serves, with reuse or without."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from typing import TYPE_CHECKING

from flask import Flask

from tests.edges.waits import Waits
from tests.middleware.wsgi import serve
from wsgi_async.integrations.flask import AsyncLoop

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment

flask_app = Flask(__name__)
AsyncLoop(flask_app, reuse=bool(os.environ.get("REUSE")))


@flask_app.get("/")
async def give() -> str:
    """An async view, so that the thread uses its loop."""
    await asyncio.sleep(0)
    return "ok"


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer which thread has served the request, and where it waited."""
    with Waits() as waits:
        serve(flask_app, environ)
    start_response("200 OK", [("Content-Type", "application/json")])
    found = {"thread": threading.get_ident(), "places": sorted(waits.places)}
    return [json.dumps(found).encode()]
