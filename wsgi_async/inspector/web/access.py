"""Who may see the page: users of this machine, or clients that have the token."""

from __future__ import annotations

import enum
import hmac
import ipaddress
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, quote, urlsplit

if TYPE_CHECKING:
    from wsgiref.types import WSGIEnvironment

__all__ = ["Access", "Verdict", "base_path", "sent_token"]

_COOKIE = "wsgi_async_inspector"
_SHORTEST = 16
"""The fewest characters that a token may have."""

_LONGEST = 4096
"""The most bytes that a form may have."""

_PROXIED = (
    "HTTP_FORWARDED",
    "HTTP_VIA",
    "HTTP_X_FORWARDED_FOR",
    "HTTP_X_FORWARDED_HOST",
    "HTTP_X_FORWARDED_PROTO",
    "HTTP_X_REAL_IP",
)
"""Headers that proxies add. Behind a proxy, all clients have a loopback address, or seem to.

A proxy need not add any of them, and some servers remove them before an app sees them.
"""

_OLD = "HTTP/1.0"
"""The protocol that proxies use by default, nginx among them, and that no browser uses."""


class Verdict(enum.Enum):
    """What to do with a request."""

    ALLOWED = enum.auto()
    ASK = enum.auto()
    """The request has no token, or a wrong one."""
    REFUSED = enum.auto()


class Access:
    """Decides who may see the page. Lives as long as its app.

    Args:
        token: The token that a client must send. With None, only requests from this machine that
            come through no proxy are allowed.

    Raises:
        ValueError: The token is too short.
    """

    def __init__(self, token: str | None) -> None:
        if token is not None and len(token) < _SHORTEST:
            raise ValueError(f"The inspector's token needs {_SHORTEST} characters or more.")
        self._token = None if token is None else token.encode()

    def judge(self, environ: WSGIEnvironment) -> Verdict:
        """Whether a request may see the page."""
        if self._token is None:
            return Verdict.ALLOWED if _is_local(environ) else Verdict.REFUSED
        kind, _, given = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        if kind.lower() == "bearer" and self.is_right(given.strip()):
            return Verdict.ALLOWED
        cookie = _cookie(environ)
        if cookie and hmac.compare_digest(cookie.encode(), self._cookie_value().encode()):
            return Verdict.ALLOWED
        return Verdict.ASK

    def is_right(self, token: str) -> bool:
        """Whether this is the token. The time that the comparison takes does not reveal it."""
        if self._token is None:
            return False
        return hmac.compare_digest(token.encode(errors="replace"), self._token)

    def cookie(self, environ: WSGIEnvironment) -> str:
        """The header that lets a browser in until the browser is closed or the token changes."""
        secure = "; Secure" if environ.get("wsgi.url_scheme") == "https" else ""
        path = base_path(environ)
        return f"{_COOKIE}={self._cookie_value()}; Path={path}; HttpOnly; SameSite=Strict{secure}"

    def _cookie_value(self) -> str:
        """A value that is made from the token, and from which the token cannot be computed."""
        return hmac.new(self._token or b"", b"wsgi_async inspector", "sha256").hexdigest()


def base_path(environ: WSGIEnvironment) -> str:
    """The app's path, quoted for a header; it ends with a slash."""
    # WSGI has a path's bytes as latin-1. With two slashes at its start, it would be a host name.
    place = quote(environ.get("SCRIPT_NAME", "").encode("latin-1"))
    return f"/{place.strip('/')}/" if place.strip("/") else "/"


def sent_token(environ: WSGIEnvironment) -> str:
    """The token in the form that was sent; empty if there is none."""
    length = environ.get("CONTENT_LENGTH") or "0"
    if not (length.isascii() and length.isdigit() and int(length) <= _LONGEST):
        return ""
    form: dict[str, list[str]] = parse_qs(
        environ["wsgi.input"].read(int(length)).decode(errors="replace")
    )
    return form.get("token", [""])[0]


def _is_local(environ: WSGIEnvironment) -> bool:
    """Whether a request comes from this machine, and is meant for it.

    A page of another site may have its name lead to 127.0.0.1, so the name is checked, too.
    """
    if environ.get("SERVER_PROTOCOL") == _OLD or any(name in environ for name in _PROXIED):
        return False
    host = _name(environ.get("HTTP_HOST", ""))
    return _is_loopback(environ.get("REMOTE_ADDR", "")) and (
        host == "localhost" or _is_loopback(host)
    )


def _name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_loopback(address: str) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return (mapped or found).is_loopback


def _cookie(environ: WSGIEnvironment) -> str:
    for one in environ.get("HTTP_COOKIE", "").split(";"):
        name, _, value = one.strip().partition("=")
        if name == _COOKIE:
            return str(value)
    return ""
