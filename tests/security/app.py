"""The application of the secrets for a real server, which checks what is logged too."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from tests.security.parts import LogCheck, application
from wsgi_async import AsyncLoopMiddleware

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment

logging.getLogger("wsgi_async").addHandler(LogCheck())
logging.getLogger("wsgi_async").propagate = False

app = AsyncLoopMiddleware(application, debug=False)


def keys(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answers with what there is of ours in the environ."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    found = {key: type(value).__name__ for key, value in environ.items() if "async" in key.lower()}
    return [f"{key}={kind}\n".encode() for key, kind in sorted(found.items())]


wrapped = AsyncLoopMiddleware(keys)
