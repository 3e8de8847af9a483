"""A request through the middleware, as a server's thread serves it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any
from wsgiref.util import setup_testing_defaults

from tests.core.support import LIMIT
from wsgi_async import LoopThreadPoolExecutor

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication, WSGIEnvironment

RUNNERS = ["keeper", "resident"]


def request(app: WSGIApplication, runner: str, path: str = "/orders") -> None:
    """Serve one request on a thread whose loop has a thread of its own, or lives on it."""

    def serve() -> None:
        environ: WSGIEnvironment = {"PATH_INFO": path}
        setup_testing_defaults(environ)
        body: Any = app(environ, lambda *_: bytes)
        list(body)
        getattr(body, "close", lambda: None)()

    if runner == "resident":
        with LoopThreadPoolExecutor(1, own_managers=False) as pool:
            pool.submit(serve).result(LIMIT)
        return
    thread = threading.Thread(target=serve)
    thread.start()
    thread.join(LIMIT)
