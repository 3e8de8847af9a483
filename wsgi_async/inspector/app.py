"""The inspector's page: a WSGI app that shows all processes with a socket.

It runs alone, as `gunicorn wsgi_async.inspector.app:app`, or inside your app::

    from wsgi_async.inspector.app import mount

    application = mount(application, "/inspect")
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from .reading import Reply, folders, read_all_elsewhere, socket_files
from .web import page
from .web.access import Access, Verdict, base_path, sent_token

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

__all__ = ["InspectorApp", "app", "mount"]

_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

_HEADERS = [
    ("Content-Security-Policy", _POLICY),
    ("Cache-Control", "no-store"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
]

_HTML = "text/html; charset=utf-8"
_FILES = {"/page.css": "text/css; charset=utf-8", "/page.js": "text/javascript; charset=utf-8"}

_REFUSED = (
    "This page is shown to browsers on this machine only, at a loopback address and through no "
    "proxy. Set WSGI_ASYNC_INSPECT_TOKEN to see it from elsewhere."
)


@dataclass
class _Response:
    body: str
    kind: str = _HTML
    status: HTTPStatus = HTTPStatus.OK
    headers: tuple[tuple[str, str], ...] = ()


class InspectorApp:
    """A WSGI app that shows what the event loops of all processes with a socket are doing.

    Without a token, only browsers on this machine can see it. From any thread.

    Args:
        folder: Where the sockets are. With None, where `WSGI_ASYNC_INSPECT` says, else in the
            folder that `open_inspector()` uses.
        token: The access token. Browsers prompt for it. Other clients send it as
            `Authorization: Bearer TOKEN`. With None, `WSGI_ASYNC_INSPECT_TOKEN`, if that is set.

    Raises:
        ValueError: The token has fewer than 16 characters.
    """

    def __init__(
        self, folder: str | os.PathLike[str] | None = None, token: str | None = None
    ) -> None:
        self._folder = None if folder is None else Path(folder)
        self._access = Access(token or os.environ.get("WSGI_ASYNC_INSPECT_TOKEN") or None)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        response = self._respond(environ)
        # A name may have a lone surrogate, which stands for a byte of a file name.
        body = response.body.encode(errors="backslashreplace")
        start_response(
            f"{response.status.value} {response.status.phrase}",
            [
                ("Content-Type", response.kind),
                ("Content-Length", str(len(body))),
                *_HEADERS,
                *response.headers,
            ],
        )
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    def _respond(self, environ: WSGIEnvironment) -> _Response:
        verdict = self._access.judge(environ)
        path, method = environ.get("PATH_INFO", ""), environ["REQUEST_METHOD"]
        if verdict is Verdict.REFUSED:
            return _Response(page.message(_REFUSED), status=HTTPStatus.FORBIDDEN)
        if path == "/token" and method == "POST":
            return self._enter(environ)
        if method not in ("GET", "HEAD"):
            return _Response(
                page.message("Send GET."),
                status=HTTPStatus.METHOD_NOT_ALLOWED,
                headers=(("Allow", "GET, HEAD"),),
            )
        if path in _FILES:
            return _Response(_file(path), _FILES[path])
        if verdict is Verdict.ASK:
            return _ask(wrong=False)
        return self._show(path, environ)

    def _enter(self, environ: WSGIEnvironment) -> _Response:
        """Handle the form that a browser has sent."""
        if not self._access.is_right(sent_token(environ)):
            return _ask(wrong=True)
        return _to_page(environ, ("Set-Cookie", self._access.cookie(environ)))

    def _show(self, path: str, environ: WSGIEnvironment) -> _Response:
        if path in ("", "/token"):
            return _to_page(environ)
        if path not in ("/", "/part", "/json"):
            return _Response(page.message("There is no such page."), status=HTTPStatus.NOT_FOUND)
        try:
            replies = read_all_elsewhere(socket_files(folders(self._folder)))
        except (OSError, ValueError) as error:
            return _Response(page.message(str(error)), status=HTTPStatus.INTERNAL_SERVER_ERROR)
        return _found(path, replies, reloads=environ.get("QUERY_STRING") == "reload")


def _found(path: str, replies: list[Reply], *, reloads: bool) -> _Response:
    if path == "/json":
        return _Response(json.dumps([reply.plain() for reply in replies]), "application/json")
    content = page.part(replies)
    return _Response(content if path == "/part" else page.page(content, reloads=reloads))


def _ask(*, wrong: bool) -> _Response:
    return _Response(
        page.form(wrong=wrong),
        status=HTTPStatus.UNAUTHORIZED,
        headers=(("WWW-Authenticate", "Bearer"),),
    )


def _to_page(environ: WSGIEnvironment, *headers: tuple[str, str]) -> _Response:
    """Redirect to the page's one address, which ends with a slash: its links are relative."""
    return _Response(
        "",
        status=HTTPStatus.SEE_OTHER,
        headers=(("Location", base_path(environ)), *headers),
    )


def _file(path: str) -> str:
    return Path(__file__).with_name("web").joinpath(path[1:]).read_text()


def mount(
    application: WSGIApplication, path: str, inspector: WSGIApplication | None = None
) -> WSGIApplication:
    """Serve the page under a path of your own app, whatever framework it uses.

    Args:
        application: Your app.
        path: Where to serve the page, for example `"/inspect"`.
        inspector: The page; `app` with None.

    Raises:
        ValueError: The path does not begin with a slash, or ends with one.
    """
    if not path.startswith("/") or path.endswith("/"):
        raise ValueError(f"The path must begin with a slash and not end with one, unlike {path!r}.")
    page_app = app if inspector is None else inspector

    def dispatch(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        asked = environ.get("PATH_INFO", "")
        if asked != path and not asked.startswith(path + "/"):
            return application(environ, start_response)
        inner = dict(environ)
        inner["SCRIPT_NAME"] = environ.get("SCRIPT_NAME", "") + path
        inner["PATH_INFO"] = asked[len(path) :]
        return page_app(inner, start_response)

    return dispatch


app = InspectorApp()
"""The inspector page, configured by the environment variables."""
