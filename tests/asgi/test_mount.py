"""An ASGI app under WSGI: what it is told of a request, and what becomes of its response."""

from __future__ import annotations

import asyncio
import errno
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from tests.asgi.mounting import Dribble, answers, ask, begin, mounted, start
from tests.core.support import BEGIN
from wsgi_async import (
    AsyncLoopMiddleware,
    CallerNotFound,
    TaskCancelledError,
    loop_from,
    run_in_calling_thread,
    scope_from,
)
from wsgi_async.asgi import AsgiMount
from wsgi_async.asgi.http_scope import http_scope

if TYPE_CHECKING:
    from concurrent.futures import Executor


async def hello(scope: Any, receive: Any, send: Any) -> None:
    await send(start())
    await send(answers(b"hello"))


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """One part for each piece of the request."""
    await send(start())
    more = True
    while more:
        message = await receive()
        more = message["more_body"]
        await send(answers(message["body"], more=more))


def scope_of(worker: Executor, path: str = "/", **environ: Any) -> dict[str, Any]:
    """What the app is told of a request."""
    found: dict[str, Any] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        found.update(scope)
        await hello(scope, receive, send)

    ask(worker, app, path, **environ)
    return found


# -- the scope -----------------------------------------------------------------------------------


def test_the_scope_is_what_asgi_says(worker: Executor) -> None:
    """Paths are decoded and hold the root path, headers are bytes, and ports are numbers."""
    scope = scope_of(
        worker,
        "/d\xc3\xa9j\xc3\xa0 vu?a=%20b",
        SCRIPT_NAME="/api",
        RAW_URI="/api/d%C3%A9j%C3%A0%20vu?a=%20b",
        SERVER_NAME="example.org",
        SERVER_PORT="8443",
        SERVER_PROTOCOL="HTTP/1.1",
        REMOTE_ADDR="10.0.0.9",
        REMOTE_PORT="4711",
        HTTP_X_NAME="Andr\xe9",
        CONTENT_TYPE="text/plain",
        HTTP_HOST="example.org",
        **{"wsgi.url_scheme": "https"},
    )
    assert scope["type"] == "http"
    assert scope["asgi"] == {"version": "3.0", "spec_version": "2.4"}
    assert scope["http_version"] == "1.1"
    assert scope["method"] == "GET"
    assert scope["scheme"] == "https"
    assert scope["root_path"] == "/api"
    assert scope["path"] == "/api/déjà vu"
    assert scope["raw_path"] == b"/api/d%C3%A9j%C3%A0%20vu"
    assert scope["query_string"] == b"a=%20b"
    assert scope["client"] == ("10.0.0.9", 4711)
    assert scope["server"] == ("example.org", 8443)
    assert scope["extensions"] == {}
    assert set(scope["headers"]) == {
        (b"host", b"example.org"),
        (b"x-name", b"Andr\xe9"),
        (b"content-type", b"text/plain"),
    }


@pytest.mark.parametrize(
    ("environ", "key", "expected"),
    [
        ({"SERVER_PROTOCOL": "HTTP/2.0"}, "http_version", "2"),
        ({"SERVER_PROTOCOL": "HTTP/1.0"}, "http_version", "1.0"),
        ({"REMOTE_ADDR": "10.0.0.9"}, "client", ("10.0.0.9", 0)),
        ({"REMOTE_ADDR": ""}, "client", None),
        ({"SERVER_NAME": "/run/app.sock", "SERVER_PORT": ""}, "server", ("/run/app.sock", None)),
        ({"REQUEST_URI": "http://example.org/a%20b?c"}, "raw_path", b"/a%20b"),
        ({"PATH_INFO": "/\xff"}, "path", "/\N{REPLACEMENT CHARACTER}"),
    ],
)
def test_servers_tell_things_in_different_ways(
    environ: dict[str, str], key: str, expected: object
) -> None:
    """What a server leaves out or writes in a way of its own gives no error."""
    always = {"REQUEST_METHOD": "GET", "SERVER_NAME": "localhost", "SERVER_PORT": "80"}
    scope = http_scope({**always, "async.loop": None, "async.scope": None, **environ})
    assert scope[key] == expected


def test_there_is_no_raw_path_where_the_server_does_not_tell_it(worker: Executor) -> None:
    """The key is left out, as ASGI allows."""
    assert "raw_path" not in scope_of(worker)


def test_sync_endpoints_find_the_loop_and_the_request(worker: Executor) -> None:
    """In the scope are the manager of the thread and the request's scope, which ends with it."""
    scope = scope_of(worker)
    loop = loop_from(scope)
    assert worker.submit(loop.run, asyncio.sleep(0, "ran")).result() == "ran"
    assert loop is worker.submit(lambda: scope["async.loop"]).result()
    with pytest.raises(RuntimeError, match="is over"):
        scope_from(scope).no_timeout()


# -- requests ------------------------------------------------------------------------------------


def test_the_request_is_read_when_the_app_asks(worker: Executor) -> None:
    """Each receive() is one read, and an app that does not ask has nothing read."""
    body = Dribble(b"one", b"two", b"three")
    answer = begin_in(worker, mounted(echo), body=body, CONTENT_LENGTH="11")
    assert [part for part in answer if part] == [b"one", b"two", b"three"]
    assert body.reads == 3
    unread = Dribble(b"one")
    begin_in(worker, mounted(hello), body=unread, CONTENT_LENGTH="3")
    assert unread.reads == 0


def begin_in(worker: Executor, mount: AsgiMount, **environ: Any) -> list[bytes]:
    """The parts of a response."""

    def all_parts() -> list[bytes]:
        _, parts, body = begin(mount, **environ)
        found = list(parts)
        getattr(body, "close", int)()
        return found

    return worker.submit(all_parts).result(20)


def test_the_length_of_a_request_is_kept(worker: Executor) -> None:
    """Of a connection that goes on with the next request nothing is read beyond this one."""
    whole = ask(worker, echo, body=b"this request").body
    assert whole == b"this request"


@pytest.mark.parametrize("terminated", [True, False])
def test_a_request_without_a_length(worker: Executor, terminated: bool) -> None:
    """It is read to its end if the server ends it, and is empty if not."""
    environ = {"wsgi.input_terminated": terminated}
    body = b"".join(begin_in(worker, mounted(echo), body=Dribble(b"a", b"b"), **environ))
    assert body == (b"ab" if terminated else b"")


def test_a_length_with_spaces(worker: Executor) -> None:
    """Some servers leave them in."""
    environ = environ_of_get() | {"CONTENT_LENGTH": " 3 ", "wsgi.input": Dribble(b"abc")}

    def client() -> bytes:  # the validator would refuse it
        return b"".join(mounted(echo)(environ, lambda *_: print))

    assert worker.submit(client).result(20) == b"abc"


@pytest.mark.parametrize("length", ["-5", "abc", "1e3", ""])
def test_a_length_that_is_not_a_number(worker: Executor, length: str) -> None:
    """A client that sends nonsense gets an answer, and its connection is not read."""
    source = Dribble(b"a")
    environ = environ_of_get() | {"CONTENT_LENGTH": length, "wsgi.input": source}

    def client() -> bytes:  # the validator would refuse it
        return b"".join(mounted(echo)(environ, lambda *_: print))

    assert worker.submit(client).result(20) == b""
    assert source.reads == 0


def test_a_wait_for_the_request_that_is_given_up() -> None:
    """A poll for a disconnect loses nothing of the request, though its read has begun."""
    polled = threading.Event()

    class Slow(Dribble):
        def read1(self, size: int) -> bytes:
            assert polled.wait(20)
            return super().read1(size)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        polling = asyncio.ensure_future(receive())
        asyncio.get_running_loop().call_soon(polling.cancel)
        await asyncio.wait([polling])
        assert polling.cancelled()
        polled.set()
        await echo(scope, receive, send)

    with ThreadPoolExecutor(1) as worker:  # its loop goes on while it reads
        parts = begin_in(worker, mounted(app), body=Slow(b"all ", b"of it"), CONTENT_LENGTH="9")
    assert b"".join(parts) == b"all of it"


@pytest.mark.parametrize("end", [b"", ConnectionResetError()])
def test_a_client_that_goes_in_the_middle_of_its_request(
    worker: Executor, end: bytes | Exception
) -> None:
    """The app gets http.disconnect, and the server a broken connection."""
    kinds = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        kinds.extend([(await receive())["type"] for _ in range(3)])

    with pytest.raises(ConnectionResetError):
        begin_in(worker, mounted(app), body=Dribble(b"on", end), CONTENT_LENGTH="10")
    assert kinds == ["http.request", "http.disconnect", "http.disconnect"]


def test_a_broken_chunk_under_gunicorn(worker: Executor) -> None:
    """The app gets gunicorn's error, and gunicorn knows that the connection cannot go on."""
    gunicorn = pytest.importorskip("gunicorn.http.body", reason="gunicorn is not installed")
    from gunicorn.http.errors import InvalidChunkSize
    from gunicorn.http.unreader import IterUnreader

    source = gunicorn.Body(gunicorn.ChunkedReader(None, IterUnreader(iter([b"no number\r\n"]))))
    with pytest.raises(InvalidChunkSize):
        begin_in(worker, mounted(echo), body=source, **{"wsgi.input_terminated": True})
    assert source.failed


def test_an_app_that_answers_a_client_that_has_gone(worker: Executor) -> None:
    """Its response ends where it is told so, and the server sees the end of the body."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        await send(start())
        await send(answers(b"part", more=True))

    found = begin_in(worker, mounted(app), body=Dribble(b"on", b""), CONTENT_LENGTH="10")
    assert found == [b"part"]


def test_what_the_server_raises_the_app_gets(worker: Executor) -> None:
    """A request that the server finds broken is an error of receive()."""
    with pytest.raises(ValueError, match="bad chunk"):
        begin_in(worker, mounted(echo), body=Dribble(ValueError("bad chunk")), CONTENT_LENGTH="10")


def test_sync_code_of_the_worker_thread(worker: Executor) -> None:
    """run_in_calling_thread() runs on the thread that serves the request, also within a stream."""
    thread = worker.submit(threading.get_ident).result()
    found = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        found.append(await run_in_calling_thread(threading.get_ident))
        await send(start())
        for _ in range(2):
            await send(answers(b"part", more=True))
            found.append(await run_in_calling_thread(threading.get_ident))
        await send(answers(b""))

    ask(worker, app)
    assert found == [thread] * 3


# -- responses -----------------------------------------------------------------------------------


def test_a_response_of_one_part_is_a_list(worker: Executor) -> None:
    """The server knows its length, and the request is over when the application returns."""
    body = worker.submit(lambda: begin(mounted(hello))[2]).result()
    assert body == [b"hello"]


def test_status_and_headers(worker: Executor) -> None:
    """They come as the app sends them, but for those of the connection."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"x-name", b"Andr\xe9"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")]
        await send(start(418, (b"content-type", b"a/b"), *headers, (b"connection", b"close")))
        await send({"type": "http.response.body"})

    answer = ask(worker, app)
    assert answer.status == "418 I'm a Teapot"
    assert answer.headers == [
        ("content-type", "a/b"),
        ("x-name", "Andr\xe9"),
        ("set-cookie", "a=1"),
        ("set-cookie", "b=2"),
    ]
    assert answer.body == b""


def test_a_status_without_a_name(worker: Executor) -> None:
    """WSGI wants one, so it gets one."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start(299))
        await send({"type": "http.response.body", "body": bytearray(b"ok")})

    answer = ask(worker, app)
    assert (answer.status, answer.body) == ("299 Unknown", b"ok")


def test_send_waits_until_the_server_has_taken_the_part(worker: Executor) -> None:
    """A slow client holds up the app, and nothing piles up."""
    made = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        for number in range(4):
            made.append(number)
            await send(answers(b"%d" % number, more=number < 3))

    def slowly() -> list[tuple[bytes, int]]:
        _, parts, body = begin(mounted(app))
        seen = []
        for part in parts:
            # On the loop, after everything that is due there.
            loop.run(asyncio.sleep(0.02))
            seen.append((part, len(made)))
        body.close()
        return seen

    loop = worker.submit(manager_here).result()
    assert worker.submit(slowly).result(20) == [(b"0", 1), (b"1", 2), (b"2", 3), (b"3", 4)]


def manager_here() -> Any:
    """The manager that a mount gives this thread."""
    found = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        found.append(scope["async.loop"])
        await hello(scope, receive, send)

    begin(mounted(app))
    return found[0]


def test_headers_do_not_wait_for_the_body(worker: Executor) -> None:
    """A client sees that an event stream is open before there is an event."""
    event = threading.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start(201))
        await asyncio.to_thread(event.wait, 20)
        await send(answers(b"an event"))

    def client() -> tuple[str, bytes, list[bytes]]:
        answer, parts, body = begin(mounted(app))
        first = next(parts)
        event.set()
        rest = list(parts)
        body.close()
        return answer.status, first, rest

    assert worker.submit(client).result(20) == ("201 Created", b"", [b"an event"])


@pytest.mark.parametrize(
    ("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304), ("HEAD", 404)]
)
@pytest.mark.parametrize("parts", [1, 2, 3])
def test_a_response_without_a_body(worker: Executor, method: str, status: int, parts: int) -> None:
    """Its headers come as they are, and none of the body, which the app can send to its end."""
    ended = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        length = [] if status == 204 else [(b"content-length", b"9")]
        kind = [(b"content-type", b"a/b")] if method == "HEAD" else [(b"x-a", b"b")]
        await send(start(status, *length, *kind))
        for number in range(parts):
            await send(answers(b"123", more=number < parts - 1))
        ended.append("done")

    answer = ask(worker, app, REQUEST_METHOD=method)
    assert answer.status.startswith(str(status))
    assert (("content-length", "9") in answer.headers) == (status != 204)
    assert answer.body == b""
    ask(worker, hello)  # the app has gone on by then
    assert ended == ["done"]


def test_an_endless_response_without_a_body_ends(worker: Executor) -> None:
    """An app that streams on after the answer to HEAD is told after `grace`, and has not failed."""
    told = threading.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        try:
            while True:
                await send(answers(b"an event", more=True))
        except OSError:
            told.set()
            raise

    assert ask(worker, mounted(app, grace=0.1), REQUEST_METHOD="HEAD").body == b""
    assert told.wait(20)


def test_the_app_goes_on_after_its_response(worker: Executor) -> None:
    """A background task of the app does not hold up the response, and is done."""
    go_on, done = threading.Event(), threading.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await hello(scope, receive, send)
        assert (await receive())["type"] == "http.disconnect"
        await asyncio.to_thread(go_on.wait, 20)
        done.set()

    assert ask(worker, app).body == b"hello"
    assert not done.is_set()
    go_on.set()
    assert done.wait(20)


def test_no_thread_comes_after_the_response(worker: Executor) -> None:
    """A background task that asks for the worker's thread is told that nobody is there."""
    told = threading.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await hello(scope, receive, send)
        with pytest.raises(CallerNotFound):
            await run_in_calling_thread(int)
        told.set()

    assert ask(worker, app).body == b"hello"
    ask(worker, hello)  # a loop on the worker goes on when it waits
    assert told.wait(20)


# -- errors --------------------------------------------------------------------------------------


async def fail(scope: Any, receive: Any, send: Any) -> None:
    raise LookupError("of the app")


async def fail_after_start(scope: Any, receive: Any, send: Any) -> None:
    await send(start())
    raise LookupError("of the app")


async def fail_in_the_body(scope: Any, receive: Any, send: Any) -> None:
    await send(start())
    await send(answers(b"part", more=True))
    raise LookupError("of the app")


@pytest.mark.parametrize("app", [fail, fail_after_start])
def test_an_error_before_the_body_is_the_servers_to_answer(worker: Executor, app: Any) -> None:
    """It is raised before start_response(), so that the server sends its 500."""

    def client() -> str:
        with pytest.raises(LookupError, match="of the app"):
            mounted(app)(environ_of_get(), start_response)
        return "raised"

    def start_response(*_: object) -> Any:
        raise AssertionError("called")

    assert worker.submit(client).result(20) == "raised"


def environ_of_get() -> dict[str, Any]:
    from tests.middleware.wsgi import make_environ

    return make_environ()


def test_an_error_in_the_body_ends_it(worker: Executor) -> None:
    """It is raised to the server, which breaks the connection off: the client sees it is short."""

    def client() -> bytes:
        _, parts, body = begin(mounted(fail_in_the_body))
        first = next(parts)
        with pytest.raises(LookupError, match="of the app"):
            next(parts)
        body.close()
        return first

    assert worker.submit(client).result(20) == b"part"


@pytest.mark.parametrize(
    ("error", "raised", "text"),
    [
        (LookupError("of the app"), LookupError, "of the app"),
        (asyncio.CancelledError(), TaskCancelledError, None),
    ],
    ids=["fails", "is canceled"],
)
def test_an_app_that_ends_between_two_parts(
    error: BaseException, raised: type[BaseException], text: str | None
) -> None:
    """The server gets the error as the next part, and the client no complete response."""
    sent, ended = threading.Event(), threading.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        try:
            await asyncio.to_thread(sent.wait, 20)
            raise error
        finally:
            asyncio.get_running_loop().call_soon(ended.set)

    def client() -> None:
        _, parts, body = begin(mounted(app))
        assert next(parts) == b""
        sent.set()
        assert ended.wait(20)
        with pytest.raises(raised, match=text):
            next(parts)
        body.close()

    with ThreadPoolExecutor(1) as worker:  # its loop goes on between two parts
        worker.submit(client).result(20)


def test_an_error_after_the_response_is_logged(
    worker: Executor, caplog: pytest.LogCaptureFixture
) -> None:
    """The log names the app and the request; frameworks raise so what they have answered 500 to."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await hello(scope, receive, send)
        raise LookupError("of the app")

    assert ask(worker, app, "/some/path").body == b"hello"
    ask(worker, hello)
    assert "(GET /some/path) failed" in caplog.text
    assert "LookupError: of the app" in caplog.text


@pytest.mark.parametrize(
    ("messages", "text"),
    [
        ([], "returned before its response was complete"),
        ([start()], "returned before its response was complete"),
        ([answers(b"")], "comes before its start"),
        ([start(), start()], "started already"),
        ([{"type": "http.response.push"}], "cannot send 'http.response.push'"),
    ],
)
def test_messages_that_make_no_response(
    worker: Executor, messages: list[dict[str, Any]], text: str
) -> None:
    """An app that breaks ASGI's rules gets an error that says which."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    with pytest.raises(RuntimeError, match=text):
        ask(worker, app)


def test_no_part_comes_after_the_last(worker: Executor, caplog: pytest.LogCaptureFixture) -> None:
    """What an app sends after the end is an error of the app, which is logged."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await hello(scope, receive, send)
        await send(answers(b"more"))

    assert ask(worker, app).body == b"hello"
    ask(worker, hello)
    assert "The response is complete already" in caplog.text


def test_a_websocket_is_refused(worker: Executor, caplog: pytest.LogCaptureFixture) -> None:
    """The client and the log are told why."""
    answer = ask(worker, fail, "/chat", HTTP_UPGRADE="websocket", HTTP_CONNECTION="Upgrade")
    assert answer.status == "501 Not Implemented"
    assert b"no WebSockets" in answer.body
    assert "GET /chat asks for a WebSocket" in caplog.text


def test_something_that_is_no_app() -> None:
    """A mistake in the setup shows at once."""
    with pytest.raises(TypeError, match="cannot be called"):
        AsgiMount("app")  # type: ignore[arg-type]


# -- the manager ---------------------------------------------------------------------------------


def test_the_manager_of_a_middleware_around_it_is_used(worker: Executor) -> None:
    """Mounted in a wrapped application it runs on the same loop as the rest of that."""
    found = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        found.append(scope["async.loop"].id)
        await hello(scope, receive, send)

    mount = mounted(app, id="inner")
    ask(worker, mount)
    outer = AsyncLoopMiddleware(mount, id="outer")
    worker.submit(lambda: list(outer(environ_of_get(), lambda *_: print))).result(20)
    assert found == ["inner", "outer"]


def test_the_request_s_deadline(worker: Executor) -> None:
    """A timeout of the middleware cancels the app, and the server gets what it answers 500 to."""
    ended = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("cleaned up")

    with pytest.raises(RuntimeError, match=r"ASGI app .*app was not done in time") as caught:
        ask(worker, mounted(app, timeout=BEGIN))
    assert isinstance(caught.value.__cause__, TimeoutError)
    assert ended == ["cleaned up"]


def test_an_app_that_does_not_end_at_its_deadline_is_canceled_again(worker: Executor) -> None:
    """A cleanup without an end keeps the worker's thread no longer than `grace`."""
    ended = threading.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            try:
                await asyncio.sleep(60)
            finally:
                ended.set()

    with pytest.raises(RuntimeError):
        ask(worker, mounted(app, timeout=BEGIN, grace=0.1))
    assert ended.is_set()


def test_a_manager_that_the_application_has_stopped(worker: Executor) -> None:
    """The app is not begun, and the error says that the manager was stopped."""
    mount = mounted(fail)

    def outer(environ: Any, start_response: Any) -> Any:
        loop_from(environ).stop()
        return mount(environ, start_response)

    wrapped = AsyncLoopMiddleware(outer)
    with pytest.raises(RuntimeError, match="stopped"):
        worker.submit(wrapped, environ_of_get(), lambda *_: print).result(20)


@pytest.mark.parametrize("error", [ConnectionResetError, BrokenPipeError, FileNotFoundError])
def test_an_oserror_of_the_app_in_a_stream(worker: Executor, error: type[OSError]) -> None:
    """The server does not take it for the client's disconnect, which it would not log."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        await send(answers(b"part", more=True))
        raise error(errno.EPIPE, "the database has gone")

    with pytest.raises(RuntimeError, match=r"failed in its response: .*database has gone"):
        ask(worker, app)


def test_the_request_s_deadline_in_a_stream(worker: Executor) -> None:
    """It ends the stream between two parts."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        await send(answers(b"part", more=True))
        await asyncio.sleep(60)

    with pytest.raises(TimeoutError):
        ask(worker, mounted(app, timeout=0.05))
