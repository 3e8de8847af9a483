"""What the tests of mounted apps call them with."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from wsgiref.validate import validator

from tests.middleware.wsgi import LIMIT, make_environ
from wsgi_async.asgi import AsgiMount

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from concurrent.futures import Executor

    Asgi = Callable[[Any, Any, Any], Awaitable[None]]

__all__ = ["Answer", "Asgi", "Dribble", "answers", "ask", "begin", "mounted", "start"]


@dataclass
class Answer:
    """A response, as a server gets it."""

    status: str = ""
    headers: list[tuple[str, str]] = field(default_factory=list)
    parts: list[bytes] = field(default_factory=list)

    @property
    def body(self) -> bytes:
        return b"".join(self.parts)


class Dribble(io.RawIOBase):
    """A request's body that comes in pieces; counts how often it was read."""

    def __init__(self, *pieces: bytes | Exception) -> None:
        self.pieces = list(pieces)
        self.reads = 0

    def readable(self) -> bool:
        return True

    def read1(self, size: int) -> bytes:
        self.reads += 1
        piece = self.pieces.pop(0) if self.pieces else b""
        if isinstance(piece, Exception):
            raise piece
        assert len(piece) <= size
        return piece


def mounted(app: Asgi, **options: Any) -> AsgiMount:
    """An app that refuses the lifespan protocol."""

    async def without_lifespan(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await app(scope, receive, send)

    without_lifespan.__qualname__ = "app"
    return AsgiMount(without_lifespan, **options)


def ask(worker: Executor, app: Asgi | AsgiMount, path: str = "/", **environ: Any) -> Answer:
    """One request on the worker thread; every rule of WSGI is checked."""
    mount = app if isinstance(app, AsgiMount) else mounted(app)
    return worker.submit(_ask, mount, path, environ).result(LIMIT)


def _ask(mount: AsgiMount, path: str, extra: dict[str, Any]) -> Answer:
    answer = Answer()
    body = validator(mount)(_environ(path, extra), _start_of(answer))
    try:
        answer.parts.extend(body)
    finally:
        body.close()  # type: ignore[attr-defined]
    return answer


def _environ(path: str, extra: dict[str, Any]) -> dict[str, Any]:
    path, _, query = path.partition("?")
    body = extra.pop("body", None)
    if body is not None:
        source = body if hasattr(body, "read") else io.BytesIO(body)
        extra = {"REQUEST_METHOD": "POST", **extra, "wsgi.input": source}
        if isinstance(body, bytes):
            extra["CONTENT_LENGTH"] = str(len(body))
    return make_environ(PATH_INFO=path, QUERY_STRING=query, **extra)


def _start_of(answer: Answer) -> Any:
    def start_response(
        status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], object]:
        answer.status, answer.headers = status, headers
        return answer.parts.append

    return start_response


def begin(mount: AsgiMount, path: str = "/", **extra: Any) -> tuple[Answer, Iterator[bytes], Any]:
    """Begin a request in the current thread; the answer, its parts, and what a server closes."""
    answer = Answer()
    body = mount(_environ(path, extra), _start_of(answer))
    return answer, iter(body), body


def start(status: int = 200, *headers: tuple[bytes, bytes]) -> dict[str, Any]:
    """The message that starts a response."""
    headers = headers or ((b"content-type", b"text/plain"),)
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def answers(body: bytes, *, more: bool = False) -> dict[str, Any]:
    """A message with a part of a response's body."""
    return {"type": "http.response.body", "body": body, "more_body": more}
