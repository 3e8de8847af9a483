from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.middleware.wsgi import answer_ok, ignore_start, make_environ, running_loop, serve
from wsgi_async import (
    AsyncioLoopManager,
    AsyncLoopMiddleware,
    LoopNotFound,
    loop_from,
    scope_from,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from wsgiref.types import StartResponse, WSGIEnvironment


def test_the_loop_is_in_the_environ_while_the_application_runs() -> None:
    """A view finds a manager that runs its coroutines."""
    seen: list[AsyncioLoopManager] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        loop = environ["async.loop"]
        assert loop.run(running_loop()) is loop.get_event_loop()
        seen.append(loop)
        return answer_ok(environ, start_response)

    assert serve(AsyncLoopMiddleware(app)) == b"ok"
    assert isinstance(seen[0], AsyncioLoopManager)


def test_loop_from_gives_what_is_in_the_environ() -> None:
    """The short way to the manager is the same manager."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        assert loop_from(environ) is environ["async.loop"]
        return answer_ok(environ, start_response)

    assert serve(AsyncLoopMiddleware(app)) == b"ok"


def test_loop_from_tells_how_to_wrap_the_application() -> None:
    """Who forgot the middleware reads in the error what to write, and not as a quoted key."""
    with pytest.raises(LookupError) as caught:
        loop_from(make_environ())
    assert type(caught.value) is LoopNotFound
    for way in ("AsyncLoop(app)", "get_wsgi_application()", "AsyncLoopMiddleware(app)"):
        assert way in str(caught.value)
    assert caught.value.__suppress_context__


def requests(environ: WSGIEnvironment) -> list[Any]:
    """This environ as request objects of several makes have it."""
    from webob import Request as OfWebOb
    from werkzeug.wrappers import Request as OfWerkzeug

    class OfSomebody:
        def __init__(self) -> None:
            self.environ = environ

    return [environ, OfSomebody(), OfWebOb(environ), OfWerkzeug(environ)]


def test_a_request_object_will_do() -> None:
    """A view passes its framework's request, and gets the manager and the scope of its environ."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        for request in requests(environ):
            assert loop_from(request) is environ["async.loop"]
            assert scope_from(request) is environ["async.scope"]
        return answer_ok(environ, start_response)

    assert serve(AsyncLoopMiddleware(app)) == b"ok"


def test_a_request_object_of_an_unwrapped_application_is_told_how_to_wrap_it() -> None:
    """The error is the environ's, not one about the request object."""
    for request in requests(make_environ()):
        for look_up, key in ((loop_from, "async.loop"), (scope_from, "async.scope")):
            with pytest.raises(LookupError, match=f"has no '{key}'.*AsyncLoopMiddleware"):
                look_up(request)


def test_a_stream_finds_the_loop_until_it_has_been_closed() -> None:
    """A generator runs coroutines for each piece and in its cleanup; then the loop is gone."""
    environ = make_environ()
    ran: list[object] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [])
        try:
            for piece in (b"one ", b"two "):
                ran.append(loop_from(environ).run(running_loop()))
                yield piece
        finally:
            ran.append(loop_from(environ).run(running_loop()))

    body = iter(AsyncLoopMiddleware(app)(environ, ignore_start))
    assert next(body) == b"one "
    assert list(body) == [b"two "]
    assert "async.loop" in environ
    body.close()  # type: ignore[attr-defined]
    assert "async.loop" not in environ
    assert len(ran) == 3
    assert len(set(ran)) == 1


@pytest.mark.parametrize("body", [[b"ok"], (b"ok",), []])
def test_nothing_is_left_in_the_environ_when_a_list_or_a_tuple_is_returned(
    body: Iterable[bytes],
) -> None:
    """There is nothing of the application's left to run, and nobody to tell of the end."""
    environ = make_environ()
    assert AsyncLoopMiddleware(lambda *_: body)(environ, ignore_start) is body
    assert "async.loop" not in environ


@pytest.mark.parametrize("error", [ValueError("broken"), SystemExit(3), KeyboardInterrupt()])
def test_an_application_that_raises_leaves_nothing_in_the_environ(error: BaseException) -> None:
    """The very exception reaches the server, and the loop is taken away first."""
    environ = make_environ()

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        assert loop_from(environ).running
        raise error

    with pytest.raises(type(error)) as caught:
        AsyncLoopMiddleware(app)(environ, ignore_start)
    assert caught.value is error
    assert "async.loop" not in environ


def test_an_application_may_empty_its_environ() -> None:
    """Taking the loop out does not stumble over one that has gone already."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ.clear()
        start_response("200 OK", [])
        return [b"ok"]

    def stream(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        yield from app(environ, start_response)

    assert serve(AsyncLoopMiddleware(app)) == b"ok"
    assert serve(AsyncLoopMiddleware(stream)) == b"ok"


def test_of_two_that_are_nested_the_outer_one_acts() -> None:
    """An application wrapped twice has one loop, and it is there until the outer body is closed."""
    seen: list[AsyncioLoopManager] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        seen.append(loop_from(environ))
        yield b"ok"
        seen.append(loop_from(environ))

    inner = AsyncLoopMiddleware(app, id="inner")
    bodies: list[Iterable[bytes]] = []

    def between(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        bodies.append(inner(environ, start_response))
        assert "async.loop" in environ
        return bodies[0]

    environ = make_environ()
    assert serve(AsyncLoopMiddleware(between, id="outer"), environ) == b"ok"
    assert "async.loop" not in environ
    assert [manager.id for manager in seen] == ["outer", "outer"]
    assert type(bodies[0]).__name__ == "generator"
