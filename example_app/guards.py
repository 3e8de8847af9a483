"""Keeps other web sites from using a visitor's browser against the board.

Forms carry a token that only a page of ours can know (CSRF); requests must be addressed to a host
name that is ours (DNS rebinding); and a page may load nothing but our own style sheet, script and
images.
"""

import hmac
import secrets
from urllib.parse import urlsplit

from flask import Flask, Response, abort, request, session

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self';"
    " img-src 'self'; connect-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


def install(app: Flask, allowed_hosts: frozenset[str]) -> None:
    """Put all guards but the check of the token, which is the form view's, on the app."""

    def check_host() -> None:
        if allowed_hosts and _host_name() not in allowed_hosts:
            abort(400, "This host name is not served here; the setting TRUSTED_HOSTS can add it.")

    def add_headers(response: Response) -> Response:
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        if request.endpoint != "static":
            response.headers.setdefault("Cache-Control", "no-store")
        return response

    app.before_request(check_host)
    app.after_request(add_headers)
    app.jinja_env.globals["csrf_token"] = csrf_token


def csrf_token() -> str:
    """This visitor's token, for a hidden field of every form."""
    if "csrf" not in session:
        session["csrf"] = secrets.token_urlsafe(24)
    return str(session["csrf"])


def is_own_form() -> bool:
    """Whether the request carries the token that this visitor was given."""
    sent, known = request.form.get("csrf_token", ""), session.get("csrf")
    return known is not None and hmac.compare_digest(sent.encode(), str(known).encode())


def _host_name() -> str | None:
    try:
        return urlsplit(f"//{request.host}").hostname
    except ValueError:
        return None
