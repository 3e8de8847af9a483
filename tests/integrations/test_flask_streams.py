from __future__ import annotations

import asyncio
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from flask import (
    Flask,
    Response,
    current_app,
    flash,
    g,
    get_flashed_messages,
    request,
    session,
    stream_with_context,
)

from tests.core.support import Worker
from tests.middleware.wsgi import ignore_start, make_environ
from wsgi_async.integrations.flask import AsyncLoop, current_loop, stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


class Application(Flask):
    """Notes what happens, in `trail`."""

    def __init__(self) -> None:
        super().__init__(__name__)
        self.secret_key = "test"
        self.trail: list[str] = []
        AsyncLoop(self)
        self.teardown_request(self._request_over)
        self.teardown_appcontext(self._app_over)

    async def _request_over(self, error: BaseException | None) -> None:
        await asyncio.sleep(0)
        self.trail.append(f"request over {request.path} {type(error).__name__}")

    def _app_over(self, error: BaseException | None) -> None:
        self.trail.append(f"app over {type(error).__name__}")


@pytest.fixture
def app() -> Application:
    return Application()


OVER = ["request over / NoneType", "app over NoneType"]


async def pieces() -> AsyncIterator[str]:
    """Uses all that belongs to a request, for each piece."""
    trail = current_app.trail  # type: ignore[attr-defined]
    try:
        for number in range(2):
            await asyncio.sleep(0)
            trail.append(f"piece {number}")
            yield f"{request.args['q']} {session['user']} {g.seat};"
    finally:
        await asyncio.sleep(0)
        trail.append(f"closed {request.path}")


def sit_down() -> None:
    session["user"] = "ann"
    g.seat = 7


def text(app: Flask, path: str = "/?q=1") -> str:
    response = app.test_client().get(path)
    with response:  # which Werkzeug gives another type
        return response.text


@pytest.mark.parametrize("kind", ["sync", "async", "decorated", "response"])
def test_a_stream_keeps_its_request(app: Application, worker: Worker, kind: str) -> None:
    """request, session and g are there for each piece; teardown functions run once, after it."""

    def sync_view() -> Any:
        sit_down()
        return stream(pieces())

    async def async_view() -> Any:
        sit_down()
        await asyncio.sleep(0)
        return stream(pieces())

    def response_view() -> Any:
        sit_down()
        return Response(stream(pieces(), prefetch=1), mimetype="text/plain")

    views = {
        "sync": sync_view,
        "async": async_view,
        "decorated": stream(pieces),
        "response": response_view,
    }
    app.add_url_rule("/", view_func=views[kind], endpoint="index")
    if kind == "decorated":
        app.before_request(sit_down)
    assert worker.call(text, app) == "1 ann 7;1 ann 7;"
    assert app.trail == ["piece 0", "piece 1", "closed /", *OVER]


def test_all_of_a_stream_runs_in_one_task(app: Application, worker: Worker, runner: str) -> None:
    """On the request's loop, which may be the worker's own."""
    seen: set[Any] = set()

    @app.get("/")
    @stream
    async def index() -> AsyncIterator[str]:
        try:
            for _ in range(3):
                await asyncio.sleep(0)
                seen.add((threading.get_ident(), asyncio.current_task()))
                yield "."
        finally:
            assert current_loop.get_event_loop() is asyncio.get_running_loop()
            seen.add((threading.get_ident(), asyncio.current_task()))

    assert worker.call(text, app, "/") == "..."
    ((thread, _),) = seen
    assert (thread == worker.thread.ident) == (runner == "resident")


def test_a_client_that_goes_away_closes_the_generator_first(
    app: Application, worker: Worker
) -> None:
    """The `finally` blocks run in the request, and after them the teardown functions."""

    @app.get("/")
    def index() -> Any:
        sit_down()
        return stream(pieces())

    def leave() -> bytes:
        response = app.test_client().get("/?q=1")
        first: bytes = next(response.response)  # type: ignore[call-overload]
        assert app.trail == ["piece 0"]
        response.close()
        response.close()
        return first

    assert worker.call(leave) == b"1 ann 7;"
    assert app.trail == ["piece 0", "closed /", *OVER]


def test_teardown_functions_learn_of_an_exception_in_the_close(
    app: Application, worker: Worker
) -> None:
    """They run also when the client has gone and what closes the body fails."""

    def fail() -> None:
        raise LookupError("of the close")

    @app.get("/")
    def index() -> Any:
        sit_down()
        response = Response(stream(pieces()))
        response.call_on_close(fail)
        return response

    def leave() -> None:
        body: Any = app(make_environ(QUERY_STRING="q=1"), ignore_start)
        next(iter(body))
        with pytest.raises(LookupError, match="of the close"):
            body.close()

    worker.call(leave)
    assert app.trail[-2:] == ["request over / LookupError", "app over LookupError"]


def test_a_middleware_that_reads_the_whole_stream(worker: Worker) -> None:
    """Its list has no close(); the request ends when the server closes the response."""
    app = Flask(__name__)
    ends: list[BaseException | None] = []
    inner = app.wsgi_app

    def whole(environ: Any, start_response: Any) -> list[bytes]:
        body: Any = inner(environ, start_response)
        with closing(body):
            return [b"".join(body)]

    app.wsgi_app = whole  # type: ignore[method-assign]
    AsyncLoop(app)
    app.teardown_request(ends.append)

    @app.get("/")
    @stream
    async def index() -> AsyncIterator[str]:
        yield request.path
        yield "piece"

    def leave() -> bytes:
        body: Any = app(make_environ(), ignore_start)
        first: bytes = next(iter(body))
        assert ends == []
        body.close()
        return first

    assert worker.call(leave) == b"/piece"
    assert ends == [None]


def test_teardown_functions_learn_of_an_exception_in_the_stream(
    app: Application, worker: Worker
) -> None:
    """So a database session is rolled back, as it is when a view fails."""

    @app.get("/")
    @stream
    async def index() -> AsyncIterator[str]:
        yield "piece"
        raise LookupError("mine")

    with pytest.raises(LookupError, match=r"^mine$"):
        worker.call(text, app, "/")
    assert app.trail == ["request over / LookupError", "app over LookupError"]


@pytest.mark.parametrize("testing", [False, True])
def test_a_view_that_fails_after_all_ends_its_request_at_once(
    app: Application, worker: Worker, testing: bool
) -> None:
    """A stream that nobody gets keeps nothing, and the view's exception is not forgotten."""
    app.testing = testing

    @app.get("/")
    async def index() -> str:
        stream(pieces())
        raise LookupError("mine")

    if testing:
        with pytest.raises(LookupError, match="mine"):
            worker.call(text, app, "/")
    else:
        assert "Internal Server Error" in worker.call(text, app, "/")
    assert app.trail == ["request over / LookupError", "app over LookupError"]


def test_a_stream_that_is_not_returned_keeps_nothing(app: Application, worker: Worker) -> None:
    """Also for the answer to HEAD, which has no body: the request ends with its response."""

    @app.get("/")
    def index() -> str:
        stream(pieces())
        return "something else"

    @app.get("/head")
    def with_body() -> Any:
        return stream(pieces())

    def ask_head() -> int:
        with app.test_client().head("/head") as response:
            return response.status_code

    assert worker.call(text, app) == "something else"
    assert app.trail == OVER
    assert worker.call(ask_head) == 200
    assert app.trail == [*OVER, "request over /head NoneType", "app over NoneType"]


def test_a_stream_that_was_read_is_over(app: Application, worker: Worker) -> None:
    """Who reads a response in a test, and does not close it, sees the teardown all the same."""

    @app.get("/")
    def index() -> Any:
        sit_down()
        return stream(pieces())

    def read() -> list[str]:
        assert app.test_client().get("/?q=1").text
        return list(app.trail)

    assert worker.call(read)[-2:] == OVER


def test_a_view_may_call_another_app_before_it_streams(app: Application, worker: Worker) -> None:
    """The other app's request is over when it has answered, and that of the view is not."""
    other = Application()
    other.add_url_rule("/", view_func=lambda: "other", endpoint="index")

    @app.get("/")
    def index() -> Any:
        sit_down()
        answer = Response.from_app(other.wsgi_app, {**request.environ})
        assert answer.data == b"other"
        return stream(pieces())

    assert worker.call(text, app) == "1 ann 7;1 ann 7;"
    assert app.trail == ["piece 0", "piece 1", "closed /", *OVER]
    assert other.trail == OVER


def test_teardown_that_fails_does_not_stop_the_others(app: Application, worker: Worker) -> None:
    """Its exception is raised, and both contexts are gone nevertheless."""

    @app.teardown_request
    def fail(_: BaseException | None) -> None:
        raise LookupError("teardown")

    @app.get("/")
    def index() -> Any:
        sit_down()
        return stream(pieces())

    with pytest.raises(LookupError, match="teardown"):
        worker.call(text, app)
    assert app.trail[-1] == "app over NoneType"
    assert not worker.call(lambda: current_loop)


def test_the_test_client_shows_the_request_of_a_stream(app: Application) -> None:
    """`with client:` works with streams, read to the end in the block or not at all."""

    @app.get("/")
    async def index() -> Any:
        sit_down()
        flash("hello")
        return stream(pieces())

    for buffered in (False, True):
        with app.test_client() as client:
            response = client.get("/?q=1", buffered=buffered)
            assert (session["user"], g.seat, request.path) == ("ann", 7, "/")
            assert response.text == "1 ann 7;1 ann 7;"
            assert (session["user"], g.seat, request.path) == ("ann", 7, "/")
            assert get_flashed_messages()
            response.close()
        assert app.trail[:5] == ["piece 0", "piece 1", "closed /", *OVER]
        app.trail.clear()


def test_a_stream_may_be_begun_in_the_body_of_another(app: Application, worker: Worker) -> None:
    """A sync generator under stream_with_context() can hand on an async one."""

    @app.get("/")
    def index() -> Any:
        sit_down()

        def body() -> Iterator[str]:
            yield "first;"
            yield from stream(pieces())

        return stream_with_context(body())

    assert worker.call(text, app) == "first;1 ann 7;1 ann 7;"


@pytest.mark.parametrize("read", [False, True])
@pytest.mark.parametrize("around", ["app_context", "test_request_context"])
def test_a_test_may_ask_inside_a_context(app: Application, around: str, read: bool) -> None:
    """The test leaves its context as usual, before or after it has read a stream."""

    @app.get("/")
    @stream
    async def index() -> AsyncIterator[str]:
        for _ in range(2):
            await asyncio.sleep(0)
            yield f"{request.path} {current_app.name};"

    pieces = f"/ {app.name};" * 2
    with getattr(app, around)():
        response = app.test_client().get("/", buffered=read)
        if read:
            assert response.text == pieces
    assert response.text == pieces
    assert app.trail.count("request over / NoneType") == 1 + (around == "test_request_context")


def test_a_view_may_hand_on_the_stream_of_its_test_client(app: Application, worker: Worker) -> None:
    """The stream continues after the view's request is over."""

    @app.get("/pieces")
    @stream
    async def pieces() -> AsyncIterator[str]:
        for _ in range(2):
            await asyncio.sleep(0)
            yield f"{request.path};"

    @app.get("/")
    def index() -> Any:
        return Response(app.test_client().get("/pieces").iter_encoded())

    assert worker.call(text, app) == "/pieces;/pieces;"
    assert "request over /pieces NoneType" in app.trail


def test_flasks_own_streams_work_in_the_test_client_too(app: Application) -> None:
    """`with client:` and stream_with_context() in an async view, read piece by piece."""

    @app.get("/")
    async def index() -> Any:
        sit_down()

        def body() -> Iterator[str]:
            for number in range(2):
                yield f"{number} {session['user']};"

        return stream_with_context(body())

    with app.test_client() as client:
        assert client.get("/").text == "0 ann;1 ann;"
        assert session["user"] == "ann"


def test_flasks_debugger_gets_its_contexts(app: Application, worker: Worker) -> None:
    """Who else has asked for the contexts of a request is given some, and they can be entered."""
    given: list[Any] = []

    @app.get("/")
    @stream
    async def index() -> AsyncIterator[str]:
        yield request.path

    def ask() -> list[str]:
        environ = {"werkzeug.debug.preserve_context": given.append}
        seen = [app.test_client().get("/", environ_overrides=environ).text]
        for context in given:
            context.push()
        seen.append(request.path)
        for context in reversed(given):
            context.pop()
        return seen

    assert worker.call(ask) == ["/", "/"]


def test_streams_of_two_requests_on_one_thread_do_not_meet(
    app: Application, worker: Worker
) -> None:
    """Each keeps its own request, however their pieces alternate."""

    @app.get("/<name>")
    @stream
    async def index(name: str) -> AsyncIterator[str]:
        for _ in range(2):
            await asyncio.sleep(0)
            yield f"{name}={request.path} "

    def alternate() -> list[bytes]:
        client = app.test_client()
        with client.get("/one") as one, client.get("/two") as two:
            bodies: list[Any] = [one.response, two.response]
            return [next(body) for _ in range(2) for body in bodies]

    assert worker.call(alternate) == [b"one=/one ", b"two=/two "] * 2
    assert sorted(line for line in app.trail if "request" in line) == [
        "request over /one NoneType",
        "request over /two NoneType",
    ]
