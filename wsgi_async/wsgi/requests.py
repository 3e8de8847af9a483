"""How log messages name a request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["RequestLine"]

_MOST = 200
"""The most characters of a path in the log."""


class RequestLine:
    """A request's method and path, without its query. Lives as long as any context of the request.

    It keeps nothing else of the environ, because a background task may hold the context for long.
    """

    __slots__ = ("_method", "_path", "_script")

    def __init__(self, environ: Mapping[str, Any]) -> None:
        self._method = environ.get("REQUEST_METHOD", "")
        self._script = environ.get("SCRIPT_NAME", "")
        self._path = environ.get("PATH_INFO", "")

    def __str__(self) -> str:
        # Quote the path again, as it was sent: a client must not write its own lines into the log.
        path = quote(
            f"{self._script}{self._path}",
            safe="/:@!$&'()*+,;=~",
            encoding="latin-1",
            errors="replace",
        )
        if len(path) > _MOST:
            path = path[:_MOST] + "..."
        return f"{quote(str(self._method), safe='')} {path}"
