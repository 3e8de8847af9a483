"""Translate a WSGI environ into an ASGI scope."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from wsgi_async.wsgi.bodies import KEY, SCOPE_KEY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .middleware import Scope

__all__ = ["VERSIONS", "http_scope", "wants_websocket"]

VERSIONS = {"version": "3.0", "spec_version": "2.4"}
"""Since 2.4, `send()` raises an `OSError` when the client has gone."""


def http_scope(environ: Mapping[str, Any]) -> Scope:
    """The ASGI scope of a request, with the manager and the request's scope for sync endpoints.

    Args:
        environ: The request's, with both in it.
    """
    root_path = _text(environ.get("SCRIPT_NAME", ""))
    scope: Scope = {
        "type": "http",
        "asgi": VERSIONS,
        "http_version": _http_version(environ.get("SERVER_PROTOCOL", "")),
        "method": environ["REQUEST_METHOD"].upper(),
        "scheme": environ.get("wsgi.url_scheme", "http"),
        "path": root_path + _text(environ.get("PATH_INFO", "")),
        "query_string": environ.get("QUERY_STRING", "").encode("latin-1"),
        "root_path": root_path,
        "headers": _headers(environ),
        "client": _client(environ),
        "server": (environ["SERVER_NAME"], _port(environ.get("SERVER_PORT"))),
        "extensions": {},
        "wsgi_environ": environ,
        KEY: environ[KEY],
        SCOPE_KEY: environ[SCOPE_KEY],
    }
    raw_path = _raw_path(environ.get("RAW_URI") or environ.get("REQUEST_URI") or "")
    if raw_path:
        scope["raw_path"] = raw_path
    return scope


def wants_websocket(environ: Mapping[str, Any]) -> bool:
    """Whether the client asks for a WebSocket on this connection."""
    return "websocket" in environ.get("HTTP_UPGRADE", "").lower()


def _text(value: str) -> str:
    """Decode a value that is usually UTF-8, and that the environ holds as latin-1."""
    return value if value.isascii() else value.encode("latin-1").decode("utf-8", "replace")


def _http_version(protocol: str) -> str:
    version = protocol.partition("/")[2]
    return version.removesuffix(".0") if version > "2" else version or "1.0"


def _headers(environ: Mapping[str, Any]) -> list[tuple[bytes, bytes]]:
    return [
        (name, value.encode("latin-1"))
        for key, value in environ.items()
        # Servers may set CONTENT_TYPE and CONTENT_LENGTH to "" for a request without them.
        if (name := _header_name(key)) is not None
        and (value or (value == "" and key.startswith("HTTP_")))
    ]


@lru_cache(maxsize=512)  # clients choose the names
def _header_name(key: str) -> bytes | None:
    """The header that a key of an environ stands for; None if it stands for something else."""
    if key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        name = key
    # CGI has its own names for these two headers. Servers may set the HTTP_ names as well.
    elif key.startswith("HTTP_") and key[5:] not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        name = key[5:]
    else:
        return None
    return name.lower().replace("_", "-").encode("latin-1")


def _client(environ: Mapping[str, Any]) -> tuple[str, int] | None:
    address = environ.get("REMOTE_ADDR")
    return (address, _port(environ.get("REMOTE_PORT")) or 0) if address else None


def _port(value: object) -> int | None:
    """The port as a number; None for a Unix socket."""
    text = str(value or "")
    return int(text) if text.isdecimal() else None


def _raw_path(target: str) -> bytes:
    """The path of a request target, as the client wrote it. The target may be a whole URL."""
    path = target.partition("?")[0]
    if not path.startswith("/"):
        path = path.partition("://")[2].partition("/")[2]
        path = path and f"/{path}"
    return path.encode("latin-1", "replace")
