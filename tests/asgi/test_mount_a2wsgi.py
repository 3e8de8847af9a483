"""What a2wsgi's own tests ask of an ASGI app under WSGI, asked of the mount.

Two things are meant to be different. What the app does after its response does not hold that up, so
there is no time limit for it. An error before the response is the server's to answer, so there is
no text of ours in a response.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.asgi.mounting import answers, mounted, start
from tests.middleware.wsgi import make_environ
from wsgi_async.asgi.http_scope import http_scope

httpx = pytest.importorskip("httpx", reason="httpx is not installed")

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from concurrent.futures import Executor


async def greet(scope: Any, receive: Any, send: Any) -> None:
    await send(start(200, (b"content-type", b"text/plain"), (b"content-length", b"7")))
    await send(answers(b"welcome"))


async def repeat(scope: Any, receive: Any, send: Any) -> None:
    pieces = [await receive()]
    while pieces[-1].get("more_body"):
        pieces.append(await receive())
    text = b"".join(piece["body"] for piece in pieces)
    await send(start(200, (b"Content-Length", b"%d" % len(text)), (b"content-type", b"a/b")))
    await send(answers(text))


async def fail(scope: Any, receive: Any, send: Any) -> None:
    raise RuntimeError("nothing works")


def call(worker: Executor, app: Any, method: str = "GET", **options: Any) -> Any:
    """A request by httpx, on the worker thread."""

    def client() -> Any:
        transport = httpx.WSGITransport(app=mounted(app))
        with httpx.Client(transport=transport, base_url="http://server.test:80") as client:
            return client.request(method, "/", **options)

    return worker.submit(client).result(20)


def test_get(worker: Executor) -> None:
    """A response of one part."""
    response = call(worker, greet)
    assert (response.status_code, response.text) == (200, "welcome")


def test_post(worker: Executor) -> None:
    """The request's body reaches the app."""
    response = call(worker, repeat, "POST", content="good day")
    assert (response.status_code, response.text) == (200, "good day")


def test_an_exception(worker: Executor) -> None:
    """The server gets it."""
    with pytest.raises(RuntimeError, match="nothing works"):
        call(worker, fail)


def test_background_work_does_not_hold_up_the_response(worker: Executor) -> None:
    """The client has it at once, and the work is done, without a time limit."""
    released, done = threading.Event(), threading.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await greet(scope, receive, send)
        await asyncio.to_thread(released.wait, 20)
        done.set()

    response = call(worker, app)
    assert (response.status_code, response.text) == (200, "welcome")
    assert not done.is_set()
    released.set()
    assert done.wait(20)


def test_reading_and_writing_at_the_same_time(worker: Executor) -> None:
    """One task waits for the disconnect, which comes after the last part; another one streams."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def listen() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        async def stream() -> None:
            await send(start())
            for number in range(10):
                await send(answers(bytes([0, 0, 0, number]), more=True))
            await send(answers(b""))

        await asyncio.gather(listen(), stream())
        both.set()

    both = threading.Event()
    response = call(worker, app)
    assert response.status_code == 200
    assert response.content == b"".join(bytes([0, 0, 0, number]) for number in range(10))
    call(worker, greet)
    assert both.wait(20)


def test_content_headers_come_once() -> None:
    """Servers may set them under two names."""
    environ = make_environ(
        CONTENT_TYPE="text/css",
        HTTP_CONTENT_TYPE="text/css",
        CONTENT_LENGTH="3",
        HTTP_CONTENT_LENGTH="3",
    )
    headers = http_scope({**environ, "async.loop": None, "async.scope": None})["headers"]
    assert headers.count((b"content-type", b"text/css")) == 1
    assert headers.count((b"content-length", b"3")) == 1


def test_a_starlette_stream(worker: Executor) -> None:
    """Of a sync iterable, which Starlette iterates over in threads."""
    responses = pytest.importorskip("starlette.responses")
    response = call(worker, responses.StreamingResponse(map(str, range(10))))
    assert (response.status_code, response.text) == (200, "0123456789")


def test_a_starlette_middleware(worker: Executor) -> None:
    """One that passes messages from task to task."""
    responses = pytest.importorskip("starlette.responses")
    base = pytest.importorskip("starlette.middleware.base")

    class Marking(base.BaseHTTPMiddleware):  # type: ignore[misc, name-defined]
        async def dispatch(self, request: Any, call_next: Any) -> Any:
            response = await call_next(request)
            response.headers["x-marked"] = "yes"
            return response

    response = call(worker, Marking(responses.JSONResponse({"a": 1})))
    assert (response.status_code, response.json()) == (200, {"a": 1})
    assert response.headers["x-marked"] == "yes"


def test_an_asynchronous_stream(worker: Executor) -> None:
    """As frameworks other than Starlette send one, each part with a message of its own."""

    async def parts() -> AsyncIterator[bytes]:
        for number in range(10):
            yield b"%d" % number

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        async for part in parts():
            await send(answers(part, more=True))
        await send(answers(b""))

    response = call(worker, app)
    assert (response.status_code, response.text) == (200, "0123456789")
