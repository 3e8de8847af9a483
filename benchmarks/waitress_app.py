"""A Flask app under waitress, in a process of its own: its view tells which thread has answered.

`python -m benchmarks.waitress_app DESCRIPTOR [reuse]` serves on a socket that it inherits.
"""

from __future__ import annotations

import logging
import socket
import sys
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING

from flask import Flask, g

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

THREADS = 4
"""Threads of the server."""


def flask(*, reuse: bool) -> Flask:
    """Make the Flask app."""
    from wsgi_async.integrations.flask import AsyncLoop

    app = Flask(__name__)
    AsyncLoop(app, reuse=reuse)

    @app.before_request
    def note_thread() -> None:
        g.thread = threading.current_thread().name

    @app.get("/")
    async def view() -> str:
        return str(g.thread)

    return app


def serve(descriptor: int, *, reuse: bool) -> None:
    """Serve until the process is ended."""
    from waitress import serve as serve_with_waitress

    logging.getLogger("waitress").setLevel(logging.ERROR)  # requests may wait for the first thread
    app = flask(reuse=reuse)

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        # Tells that the server is there, before any thread has had a request of the app's.
        if environ["PATH_INFO"] == "/ready":
            start_response("200 OK", [])
            return [b""]
        return app(environ, start_response)

    serve_with_waitress(application, sockets=[socket.socket(fileno=descriptor)], threads=THREADS)


if __name__ == "__main__":
    serve(int(sys.argv[1]), reuse=sys.argv[2:] == ["reuse"])
