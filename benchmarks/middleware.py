"""What the middleware adds to an app that takes no notice of the loop."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from benchmarks import contenders
from benchmarks.effort import Effort
from benchmarks.timing import Call, Scenario, batch, interleave
from benchmarks.work import nothing
from benchmarks.workers import on_a_worker_thread
from wsgi_async import AsyncLoopMiddleware

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:  # noqa: ARG001
    """Answer "ok", whatever is asked."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]


def environ() -> WSGIEnvironment:
    """Return what a server gives for `GET /`."""
    return {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/",
        "QUERY_STRING": "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "127.0.0.1:8000",
        "HTTP_USER_AGENT": "benchmark",
        "HTTP_ACCEPT": "*/*",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }


def request(served: WSGIApplication) -> Call:
    """Return a call that serves one request with `served`, as a server does."""
    ready = environ()

    def write(data: bytes) -> None:
        raise AssertionError(f"The app returns its body, it does not write {data!r}.")

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        if status != "200 OK" or not headers or exc_info:
            raise RuntimeError(f"The app answered {status!r}.")
        return write

    def serve() -> None:
        body = served(ready.copy(), start_response)
        for _ in body:
            pass
        close: Callable[[], object] | None = getattr(body, "close", None)
        if close is not None:
            close()

    return serve


@on_a_worker_thread
def middleware(effort: Effort) -> Scenario:
    """Requests in process, with the middleware and without: microseconds a request."""
    with contenders.limit(nothing) as limit:
        calls = {"limit": limit, "bare": request(app), "wrapped": request(AsyncLoopMiddleware(app))}
        measures = {key: batch(call, effort.fast_calls) for key, call in calls.items()}
        return interleave(measures, "us", rounds=effort.rounds)
