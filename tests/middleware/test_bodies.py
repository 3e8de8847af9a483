from __future__ import annotations

import gc
import io
import weakref
from typing import TYPE_CHECKING, Any
from wsgiref.util import FileWrapper

import pytest

from tests.middleware.wsgi import ignore_start, make_environ, running_loop
from wsgi_async import AsyncLoopMiddleware, loop_from

if TYPE_CHECKING:
    from collections.abc import Iterator
    from wsgiref.types import StartResponse, WSGIEnvironment


class Body:
    """An iterable that counts what is done to it."""

    def __init__(self, *pieces: bytes, fails_in: str = "") -> None:
        self.pieces = pieces
        self.fails_in = fails_in
        self.closed = 0
        self.iterated = 0

    def __iter__(self) -> Iterator[bytes]:
        self.iterated += 1
        if self.fails_in == "iter":
            raise ValueError("iter")
        return self._iterate()

    def _iterate(self) -> Iterator[bytes]:
        yield from self.pieces
        if self.fails_in == "next":
            raise ValueError("next")

    def close(self) -> None:
        self.closed += 1
        if self.fails_in == "close":
            raise ValueError("close")


class SizedBody(Body):
    def __len__(self) -> int:
        return len(self.pieces)


def wrapped(body: Any, environ: WSGIEnvironment | None = None) -> Any:
    """What the server gets for this body."""
    middleware = AsyncLoopMiddleware(lambda *_: body)
    return middleware(make_environ() if environ is None else environ, ignore_start)


def test_the_inner_close_is_called_once_however_often_the_server_calls() -> None:
    """A body that releases something in its close() does it once."""
    body = Body(b"one", b"two")
    outer = wrapped(body)
    assert list(outer) == [b"one", b"two"]
    assert body.closed == 0
    outer.close()
    outer.close()
    assert body.closed == 1


def test_a_body_that_was_not_read_to_its_end_is_closed() -> None:
    """A client that goes away early leaves nothing open."""
    body = Body(b"one", b"two")
    outer = wrapped(body)
    assert next(iter(outer)) == b"one"
    outer.close()
    assert body.closed == 1


@pytest.mark.parametrize("where", ["iter", "next"])
def test_a_body_that_raises_can_still_be_closed_and_is_closed_once(where: str) -> None:
    """The server sees the body's own exception, closes, and the loop is gone from the environ."""
    environ = make_environ()
    body = Body(b"one", fails_in=where)
    outer = wrapped(body, environ)
    with pytest.raises(ValueError, match=where):
        list(outer)
    assert "async.loop" in environ
    outer.close()
    assert body.closed == 1
    assert "async.loop" not in environ


def test_a_close_that_raises_is_not_repeated_and_takes_the_loop_away() -> None:
    """The server sees the exception once; nothing stays behind."""
    environ = make_environ()
    body = Body(fails_in="close")
    outer = wrapped(body, environ)
    with pytest.raises(ValueError, match="close"):
        outer.close()
    assert "async.loop" not in environ
    outer.close()
    assert body.closed == 1


def test_a_body_without_close_is_no_trouble() -> None:
    """A plain iterator has none; the loop is taken away all the same."""
    environ = make_environ()
    outer = wrapped(iter([b"one"]), environ)
    assert list(outer) == [b"one"]
    outer.close()
    assert "async.loop" not in environ


def test_a_body_is_iterated_once_also_when_the_server_asks_twice_or_never() -> None:
    """iter() twice does not start again, and next() works without iter()."""
    body = Body(b"one", b"two")
    outer = wrapped(body)
    assert next(outer) == b"one"
    assert next(iter(outer)) == b"two"
    assert list(outer) == []
    assert body.iterated == 1


@pytest.mark.parametrize("kind", ["coroutine", "async_generator"])
def test_an_async_body_gets_an_error_that_helps(kind: str) -> None:
    """An async function whose result is returned as the body is named, with what to return."""

    async def page() -> Any:
        raise AssertionError("nobody awaits it")

    async def pages() -> Any:
        yield b"never"

    body, advice = (page(), "run") if kind == "coroutine" else (pages(), "iterate")
    outer = wrapped(body)
    with pytest.raises(TypeError, match=rf"pages?, an? {kind}.* loop\.{advice}\("):
        list(outer)
    outer.close()


def test_what_else_is_not_iterable_gets_pythons_own_error() -> None:
    """An object of another kind is not our subject."""
    with pytest.raises(TypeError, match="'object' object is not iterable"):
        list(wrapped(object()))


def test_nothing_is_read_before_the_server_reads() -> None:
    """A stream starts when the server wants its first piece, as without the middleware."""
    body = Body(b"one")
    outer = wrapped(body)
    assert body.iterated == 0
    assert list(outer) == [b"one"]


def test_a_body_that_has_a_length_keeps_it_and_another_gets_none() -> None:
    """Servers set Content-Length by it where it is 1."""
    assert len(wrapped(SizedBody(b"one"))) == 1
    assert len(wrapped(SizedBody(b"one", b"two"))) == 2
    assert not hasattr(wrapped(Body(b"one")), "__len__")
    assert list(wrapped(SizedBody(b"one"))) == [b"one"]


def test_a_list_of_a_plain_subclass_is_handed_on_too() -> None:
    """What runs no code of its own reaches the server as it is."""

    class Pieces(list[bytes]):
        pass

    body = Pieces([b"one"])
    assert wrapped(body) is body


def test_a_list_with_code_of_its_own_finds_the_loop_in_it() -> None:
    """A subclass of list that is iterated or closed by its own methods is a stream."""
    environ = make_environ()
    ran: list[str] = []

    class Closing(list[bytes]):
        def close(self) -> None:
            ran.append("close")
            assert loop_from(environ).running

    class Iterating(list[bytes]):
        def __iter__(self) -> Iterator[bytes]:
            ran.append("iter")
            assert loop_from(environ).running
            return super().__iter__()

    for body in (Closing([b"one"]), Iterating([b"one"])):
        outer = wrapped(body, environ)
        assert len(outer) == 1
        assert list(outer) == [b"one"]
        outer.close()
    assert ran == ["close", "iter"]


def test_a_file_wrapper_is_handed_on_as_it_is_and_its_file_finds_the_loop() -> None:
    """The server recognises its own class; read() and close() of the file may run coroutines."""
    environ = make_environ(**{"wsgi.file_wrapper": FileWrapper})
    ran: list[str] = []

    class File(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            loop_from(environ).run(running_loop())
            ran.append("read")
            return super().read(size)

        def close(self) -> None:
            loop_from(environ).run(running_loop())
            ran.append("close")
            super().close()

    body = FileWrapper(File(b"one"))
    outer = wrapped(body, environ)
    assert outer is body
    assert b"".join(outer) == b"one"
    outer.close()
    assert ran == ["read", "read", "close"]


def test_a_file_wrapper_that_is_a_function_is_recognised_by_the_file() -> None:
    """uWSGI's gives the file itself back, and looks whether it is the one that it gets."""
    wrapper = {"wsgi.file_wrapper": lambda file, size=8192: file}
    file = io.BytesIO(b"one")
    assert wrapped(file, make_environ(**wrapper)) is file
    generator = (piece for piece in (b"one",))
    assert wrapped(generator, make_environ(**wrapper)) is not generator


def test_a_server_that_never_closes_the_body_leaks_nothing() -> None:
    """With the server's reference everything is gone: body, generator and request data."""

    class Data:
        pass

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        data = environ["test.data"]
        yield b"one"
        del data

    data = Data()
    gone = weakref.ref(data)
    outer = AsyncLoopMiddleware(app)(make_environ(**{"test.data": data}), ignore_start)
    assert next(iter(outer)) == b"one"
    del data
    gc.disable()
    try:
        del outer
        assert gone() is None  # not even for the garbage collector
    finally:
        gc.enable()
