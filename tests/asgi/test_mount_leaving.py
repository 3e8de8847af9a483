"""A client that goes away before a mounted app has sent its whole response."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from tests.asgi.mounting import answers, ask, begin, mounted, start
from tests.core.support import wait_until
from wsgi_async import current_manager
from wsgi_async.asgi.exchange import Exchange
from wsgi_async.core.actors.leaving import allow_streams, end_streams

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from wsgi_async.asgi import AsgiMount


class Watched:
    """An app that streams, and tells what it sees of its end."""

    def __init__(self) -> None:
        self.saw: list[str] = []
        self.ended = threading.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        try:
            await self.go_on(receive, send)
        except BaseException as error:
            self.saw.append(type(error).__name__)
            raise
        finally:
            self.saw.append("cleaned up")
            self.ended.set()

    async def go_on(self, receive: Any, send: Any) -> None:
        while True:
            await send(answers(b"part", more=True))


class Busy(Watched):
    """Waits for something of its own when the client goes."""

    async def go_on(self, receive: Any, send: Any) -> None:
        self.sent = threading.Event()
        sending = asyncio.create_task(self.tell_sent(send))
        await asyncio.sleep(60)
        await sending

    async def tell_sent(self, send: Any) -> None:
        try:
            await send(answers(b"part", more=True))
        except OSError:
            pass


class Listening(Watched):
    """Waits for http.disconnect beside its work, as frameworks do."""

    async def go_on(self, receive: Any, send: Any) -> None:
        assert (await receive())["type"] == "http.request"
        assert (await asyncio.create_task(receive()))["type"] == "http.disconnect"
        await asyncio.sleep(0.01)  # a cleanup
        self.saw.append("in order")


def leave_after(mount: AsgiMount, parts: int) -> None:
    """A server whose client goes after so many parts."""
    _, found, body = begin(mount)
    for _ in range(parts):
        next(found)
    body.close()


def test_send_raises_an_oserror(worker: Executor) -> None:
    """An app that is sending is told so by its send(), and cleans up before close() returns."""
    app = Watched()
    worker.submit(leave_after, mounted(app), 3).result(20)
    assert app.saw == ["ClientDisconnected", "cleaned up"]


def test_an_app_that_waits_for_something_else_is_canceled(worker: Executor) -> None:
    """It need not send anything to notice."""

    class Waiting(Watched):
        async def go_on(self, receive: Any, send: Any) -> None:
            await asyncio.sleep(60)

    app = Waiting()
    worker.submit(leave_after, mounted(app), 1).result(20)
    assert app.saw == ["CancelledError", "cleaned up"]


def test_an_app_that_listens_ends_in_order(worker: Executor) -> None:
    """Its receive() returns http.disconnect, and it is not canceled as long as it ends in time."""
    app = Listening()
    worker.submit(leave_after, mounted(app), 1).result(20)
    assert app.saw == ["in order", "cleaned up"]


def test_an_app_that_does_not_end_is_canceled_after_the_grace(
    worker: Executor, caplog: pytest.LogCaptureFixture
) -> None:
    """A task of it was told, but the app waits for something else: the server gets its thread."""
    app = Busy()
    worker.submit(leave_after, mounted(app, grace=0.1), 2).result(20)
    assert app.saw == ["CancelledError", "cleaned up"]
    assert "took longer than 0.1 s to end after its client had gone" in caplog.text


def test_a_disconnect_is_no_error(worker: Executor, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is logged, whatever exceptions an app makes of it."""

    class Converting(Watched):
        async def go_on(self, receive: Any, send: Any) -> None:
            try:
                await super().go_on(receive, send)
            except OSError as error:
                raise ExceptionGroup("streaming", [error, gone(error)]) from None

    def gone(cause: Exception) -> Exception:
        error = LookupError("no client")
        error.__cause__ = cause
        return error

    app = Converting()
    worker.submit(leave_after, mounted(app), 1).result(20)
    assert app.saw == ["ExceptionGroup", "cleaned up"]
    assert not caplog.records


def test_another_error_beside_the_disconnect_is_logged(
    worker: Executor, caplog: pytest.LogCaptureFixture
) -> None:
    """One of a group is enough."""

    class Failing(Watched):
        async def go_on(self, receive: Any, send: Any) -> None:
            try:
                await super().go_on(receive, send)
            except OSError as error:
                raise ExceptionGroup("streaming", [error, LookupError("another")]) from None

    worker.submit(leave_after, mounted(Failing()), 1).result(20)
    assert "LookupError: another" in caplog.text


def test_a_failing_cleanup_is_logged(worker: Executor, caplog: pytest.LogCaptureFixture) -> None:
    """The server need not know, but the log does."""

    class Failing(Watched):
        async def go_on(self, receive: Any, send: Any) -> None:
            try:
                await asyncio.sleep(60)
            finally:
                raise LookupError("of the cleanup")

    worker.submit(leave_after, mounted(Failing()), 1).result(20)
    assert "of the cleanup" in caplog.text


def test_an_error_that_nobody_comes_for_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The client goes just when the app has failed."""

    class Failing(Watched):
        async def go_on(self, receive: Any, send: Any) -> None:
            await asyncio.to_thread(sent.wait, 20)
            raise LookupError("of the app")

    def client() -> None:
        _, parts, body = begin(mounted(app))
        assert next(parts) == b""
        sent.set()
        assert app.ended.wait(20)
        body.close()

    app, sent = Failing(), threading.Event()
    with ThreadPoolExecutor(1) as worker:  # its loop goes on between two parts
        worker.submit(client).result(20)
    assert "of the app" in caplog.text


def test_an_error_that_comes_while_the_client_goes_is_logged(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The app fails between the server's close() and the moment in which its loop hears of it."""

    class Failing(Watched):
        async def go_on(self, receive: Any, send: Any) -> None:
            await asyncio.to_thread(closing.wait, 20)
            raise LookupError("of the app")

    call, app, closing = Exchange.call, Failing(), threading.Event()

    def late(exchange: Exchange, last: Any, *args: Any) -> object:
        closing.set()
        wait_until(lambda: exchange.ended, "the app does not end")
        return call(exchange, last, *args)

    def client() -> None:
        _, parts, body = begin(mounted(app))
        assert next(parts) == b""
        monkeypatch.setattr(Exchange, "call", late)
        body.close()

    with ThreadPoolExecutor(1) as worker:
        worker.submit(client).result(20)
    assert "of the app" in caplog.text


def test_a_body_that_is_dropped(worker: Executor) -> None:
    """A server that forgets to close a body leaves no app behind."""
    app = Watched()

    def forget() -> None:
        _, parts, body = begin(mounted(app))
        next(parts)
        del parts, body
        gc.collect()

    worker.submit(forget).result(20)
    for _ in range(3):  # a loop on the worker goes on when it waits
        ask(worker, quick)
    assert app.ended.wait(20)


async def quick(scope: Any, receive: Any, send: Any) -> None:
    await send(start())
    await send(answers(b"ok"))
    await asyncio.sleep(0)


@pytest.mark.parametrize("kind", [Watched, Listening])
def test_streams_end_before_the_server_does(
    worker: Executor, kind: type[Watched], caplog: pytest.LogCaptureFixture
) -> None:
    """When the process is to leave, a stream ends as if it were at its end."""
    caplog.set_level(logging.INFO)
    app = kind()

    def client() -> list[bytes]:
        _, parts, body = begin(mounted(app))
        found = [next(parts)]
        end_streams()
        found.extend(parts)
        body.close()
        return found

    try:
        assert set(worker.submit(client).result(20)) <= {b"", b"part"}
        assert app.ended.wait(20)
    finally:
        allow_streams()
    assert "failed" not in caplog.text


def test_an_answer_that_tells_its_length_is_sent_whole(worker: Executor) -> None:
    """A worker that leaves does not cut an ordinary answer that comes in several parts."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start(200, (b"content-type", b"text/plain"), (b"Content-Length", b"8")))
        await send(answers(b"part", more=True))
        end_streams()  # the thread has come for the next part
        await asyncio.sleep(0.05)
        await send(answers(b"part"))

    try:
        assert ask(worker, app).body == b"partpart"
    finally:
        allow_streams()


def test_a_stream_that_is_waited_for_ends_before_the_server_does(worker: Executor) -> None:
    """When the process is to leave, a thread that waits for the next part gets the end at once."""

    class Silent(Watched):
        async def go_on(self, receive: Any, send: Any) -> None:
            await send(answers(b"part", more=True))
            end_streams()  # the thread has come for the next part
            await asyncio.sleep(60)

    app = Silent()
    try:
        assert ask(worker, app).body == b"part"
    finally:
        allow_streams()
    assert app.saw == ["CancelledError", "cleaned up"]


def test_a_stop_of_the_manager_ends_the_request(worker: Executor) -> None:
    """The thread does not hang, and gets an error that says why."""
    found = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        found.append(scope["async.loop"])
        await send(start())
        await send(answers(b"part", more=True))
        asyncio.get_running_loop().run_in_executor(None, found[0].stop)
        await asyncio.sleep(60)

    with pytest.raises(RuntimeError, match="was stopped before this call was done"):
        ask(worker, app)


def test_an_app_on_a_busy_loop_is_canceled_once_the_loop_is_free() -> None:
    """A client that leaves meanwhile is not forgotten."""
    app, go_on, begun = Watched(), threading.Event(), threading.Event()

    async def block() -> None:
        begun.set()
        go_on.wait(20)

    def client() -> None:
        _, parts, body = begin(mounted(app, grace=0.05))
        next(parts)
        current_manager().submit_task(block())
        begun.wait(20)
        body.close()

    with ThreadPoolExecutor(1) as worker:  # a keeper: its loop can be busy while the thread is not
        worker.submit(client).result(20)
        go_on.set()
        assert app.ended.wait(20)
