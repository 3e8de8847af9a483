from __future__ import annotations

import asyncio
import contextvars
from typing import TYPE_CHECKING

from tests.core.support import on_worker
from tests.middleware.wsgi import ignore_start, make_environ, serve
from wsgi_async import AsyncLoopMiddleware, loop_from

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from wsgiref.types import StartResponse, WSGIEnvironment

user: contextvars.ContextVar[str] = contextvars.ContextVar("user", default="nobody")


async def set_user(name: str) -> str:
    """Set the variable in a coroutine; what it was."""
    before = user.get()
    await asyncio.sleep(0)
    user.set(name)
    return before


@on_worker
def test_a_request_never_sees_what_the_last_one_on_its_thread_set() -> None:
    """One user's data does not show up in the next user's request."""
    seen: list[str] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        seen.append(user.get())
        user.set("ann")
        seen.append(loop_from(environ).run(set_user("bob")))
        seen.append(user.get())
        start_response("200 OK", [])
        return [b"ok"]

    middleware = AsyncLoopMiddleware(app)
    serve(middleware)
    serve(middleware)
    assert seen == ["nobody", "ann", "bob"] * 2
    assert user.get() == "nobody"


@on_worker
def test_the_application_its_stream_and_its_close_run_in_one_context() -> None:
    """What a view set, its stream and its cleanup still see, wherever the server reads them."""
    seen: list[str] = []

    class Stream:
        def __iter__(self) -> Iterator[bytes]:
            seen.append(user.get())
            user.set("iter")
            return self

        def __len__(self) -> int:
            return len(user.get())

        def __next__(self) -> bytes:
            seen.append(user.get())
            user.set("next")
            return b"piece"

        def close(self) -> None:
            seen.append(user.get())

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        user.set("application")
        return Stream()

    body = AsyncLoopMiddleware(app)(make_environ(), ignore_start)
    assert len(body) == len("application")  # type: ignore[arg-type]
    pieces = contextvars.Context().run(iter, body)
    assert next(pieces) == b"piece"
    body.close()  # type: ignore[attr-defined]
    assert seen == ["application", "iter", "next"]
    assert user.get() == "nobody"


@on_worker
def test_a_request_sees_what_the_server_set_before_it() -> None:
    """The context is copied, not emptied: an outer middleware's variables arrive."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        return [user.get().encode()]

    token = user.set("outer")
    try:
        assert serve(AsyncLoopMiddleware(app)) == b"outer"
    finally:
        user.reset(token)


@on_worker
def test_two_streams_on_one_thread_keep_their_variables_apart() -> None:
    """A server that reads bodies in turns does not mix the requests."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        user.set(environ["PATH_INFO"])
        while True:
            yield user.get().encode()

    middleware = AsyncLoopMiddleware(app)
    first = iter(middleware(make_environ(PATH_INFO="/first"), ignore_start))
    second = iter(middleware(make_environ(PATH_INFO="/second"), ignore_start))
    turns = [next(first), next(second), next(first), next(second)]
    assert turns == [b"/first", b"/second"] * 2
    for body in (first, second):
        body.close()  # type: ignore[attr-defined]
