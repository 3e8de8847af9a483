from __future__ import annotations

import io
import re
import sys
from typing import TYPE_CHECKING, Any
from wsgiref.handlers import SimpleHandler
from wsgiref.validate import validator

import pytest
from webtest import TestApp
from werkzeug.test import Client

from tests.middleware.wsgi import answer_ok, make_environ, running_loop
from wsgi_async import AsyncLoopMiddleware, loop_from

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment


def handle(app: WSGIApplication) -> bytes:
    """One request through the standard library's server code; the raw response without its date."""
    out = io.BytesIO()
    errors = io.StringIO()
    SimpleHandler(io.BytesIO(), out, errors, make_environ(QUERY_STRING="")).run(app)
    assert not errors.getvalue(), errors.getvalue()
    return re.sub(rb"Date: .*\r\n", b"", out.getvalue())


def streamed(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
    """Calls start_response after it has returned, as a generator does."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    loop_from(environ).run(running_loop())
    yield b"one "
    yield b"two"


def written(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Uses the old write()."""
    write = start_response("200 OK", [("Content-Type", "text/plain")])
    write(b"one ")
    return [b"two"]


def corrected(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Replaces its headers after an error."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    try:
        raise ValueError("too late")
    except ValueError:
        info = sys.exc_info()
        start_response("500 Oops", [("Content-Type", "text/plain")], info)
    return [b"one two"]


@pytest.mark.parametrize(
    ("app", "status"),
    [(answer_ok, b"200 OK"), (streamed, b"200 OK"), (written, b"200 OK"), (corrected, b"500 Oops")],
)
def test_the_validator_is_happy_on_both_sides(app: WSGIApplication, status: bytes) -> None:
    """The middleware keeps PEP 3333 towards the server and towards the application."""
    raw = handle(validator(AsyncLoopMiddleware(validator(app))))
    assert raw == handle(validator(AsyncLoopMiddleware(app)))
    assert raw.startswith(b"HTTP/1.0 " + status)
    assert raw.split(b"\r\n\r\n", 1)[1] in (b"ok", b"one two")


def test_start_response_reaches_the_application_untouched() -> None:
    """Also what it returns and what it raises: write(), exc_info and re-raised errors work."""
    given: list[Any] = []

    def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None, /) -> Any:
        return given.append

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        assert start_response is start
        start_response("200 OK", [])(b"written")
        return []

    AsyncLoopMiddleware(app)(make_environ(), start)
    assert given == [b"written"]


def test_a_body_of_length_one_gets_its_content_length() -> None:
    """The standard library's server counts it for a list, and for a body that has a length."""

    class Sized:
        def __init__(self, *pieces: bytes) -> None:
            self.pieces = pieces

        def __len__(self) -> int:
            return len(self.pieces)

        def __iter__(self) -> Iterator[bytes]:
            return iter(self.pieces)

    def app_of(body: Iterable[bytes]) -> WSGIApplication:
        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            start_response("200 OK", [("Content-Type", "text/plain")])
            return body

        return AsyncLoopMiddleware(app)

    assert b"Content-Length: 3" in handle(app_of([b"one"]))
    assert b"Content-Length: 3" in handle(app_of(Sized(b"one")))
    assert b"Content-Length" not in handle(app_of(Sized(b"one", b"two")))
    assert b"Content-Length" not in handle(app_of(iter([b"one"])))


@pytest.mark.parametrize("app", [answer_ok, streamed, written])
def test_webtest_and_its_lint_are_happy(app: WSGIApplication) -> None:
    """A project that tests with WebTest wraps its application and goes on."""
    response = TestApp(AsyncLoopMiddleware(app), lint=True).get("/")
    assert response.status_int == 200
    assert response.text in ("ok", "one two")


@pytest.mark.parametrize("app", [answer_ok, streamed])
def test_werkzeugs_client_is_happy(app: WSGIApplication) -> None:
    """So does one that tests with Werkzeug's client, streamed or not."""
    client = Client(AsyncLoopMiddleware(app))
    for buffered in (True, False):
        with client.get("/", buffered=buffered) as response:
            assert response.status_code == 200
            assert response.get_data() in (b"ok", b"one two")
