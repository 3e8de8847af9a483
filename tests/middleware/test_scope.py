"""`environ["async.scope"]`: when it ends, and what becomes of its tasks."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from wsgiref.util import FileWrapper

import pytest
from werkzeug.test import Client
from werkzeug.wrappers import Response

from tests.core.forking import in_child
from tests.core.support import (
    LIMIT,
    Endless,
    Stubborn,
    give,
    in_process,
    on_worker,
    our_log,
    reached,
    say,
    throw,
    wait_until,
)
from tests.middleware.wsgi import ignore_start, make_environ, serve
from wsgi_async import (
    AsyncioLoopManager,
    AsyncLoopMiddleware,
    LoopThreadPoolExecutor,
    RequestScope,
    UnknownAsyncTaskError,
    current_manager,
    loop_from,
    scope_from,
)
from wsgi_async.core.runners import resident

if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Iterable, Iterator
    from wsgiref.types import StartResponse, WSGIEnvironment

    View = Callable[[WSGIEnvironment], Any]


def app_of(view: View, **options: Any) -> AsyncLoopMiddleware:
    """A wrapped application whose body is what the view returns."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return view(environ)  # type: ignore[no-any-return]

    return AsyncLoopMiddleware(app, **options)


def begin(environ: WSGIEnvironment, work: Endless | Stubborn) -> Any:
    """Submit work to the request's scope, and wait until it runs."""
    future = scope_from(environ).submit_task(work.wait())
    reached(work.began)
    return future


@on_worker
def test_what_is_unfinished_when_a_list_is_returned_is_cancelled() -> None:
    """After the response nothing of the request runs on, and all has been cleaned up."""
    work = [Endless(), Endless(), Endless()]
    futures: list[Any] = []

    def view(environ: WSGIEnvironment) -> list[bytes]:
        futures.extend(begin(environ, one) for one in work)
        return [b"ok"]

    body = app_of(view)(make_environ(), ignore_start)
    assert body == [b"ok"]
    assert [one.cleaned.is_set() for one in work] == [True] * 3
    assert [future.cancelled() for future in futures] == [True] * 3


@pytest.mark.parametrize("client", ["webtest", "werkzeug"])
@on_worker
def test_a_streams_tasks_live_until_it_is_closed(client: str) -> None:
    """While the server reads, they run; when it has closed the body, they are over."""
    work = Endless()

    def view(environ: WSGIEnvironment) -> Iterator[bytes]:
        begin(environ, work)
        yield b"one "
        assert not work.cleaned.is_set()
        yield scope_from(environ).submit_task(give(b"two")).result()

    app = app_of(view)
    if client == "webtest":
        from webtest import TestApp

        text = TestApp(app).get("/").text
    else:
        text = Client(app, Response).get("/", buffered=True).text
    assert text == "one two"
    assert work.cleaned.is_set()


@on_worker
def test_a_client_that_goes_away_ends_them() -> None:
    """A body that is closed early ends the scope's tasks, after its own `finally`."""
    work = Endless()
    order: list[bool] = []

    def view(environ: WSGIEnvironment) -> Iterator[bytes]:
        begin(environ, work)
        try:
            yield b"one"
            yield b"two"
        finally:
            order.append(work.cleaned.is_set())
            assert scope_from(environ).submit_task(give("last")).result() == "last"

    environ = make_environ()
    body: Any = app_of(view)(environ, ignore_start)
    assert next(body) == b"one"
    body.close()
    assert order == [False]
    assert work.cleaned.is_set()
    assert not {"async.loop", "async.scope"} & environ.keys()


@pytest.mark.parametrize("where", ["app", "close"])
@on_worker
def test_an_application_that_raises_leaves_nothing(where: str) -> None:
    """Its exception reaches the server as it is; the scope has ended all the same."""
    work = Endless()
    environ = make_environ()

    def view(environ: WSGIEnvironment) -> Iterator[bytes]:
        begin(environ, work)
        if where == "app":
            raise LookupError("page")

        def body() -> Iterator[bytes]:
            try:
                yield b"one"
            finally:
                raise LookupError("page")

        return body()

    with pytest.raises(LookupError, match="page"):
        serve(app_of(view), environ)
    assert work.cleaned.is_set()
    assert not {"async.loop", "async.scope"} & environ.keys()


@on_worker
def test_a_file_has_the_loop_but_no_scope() -> None:
    """With a file the scope ends when the application returns, as nobody tells of its end."""
    work = Endless()
    environ = make_environ(**{"wsgi.file_wrapper": FileWrapper})

    class File:
        def read(self, size: int = -1) -> bytes:
            assert "async.scope" not in environ
            return loop_from(environ).run(give(b""))

    def view(environ: WSGIEnvironment) -> Iterable[bytes]:
        begin(environ, work)
        file: io.BytesIO = File()  # type: ignore[assignment]
        return FileWrapper(file)

    body = app_of(view)(environ, ignore_start)
    assert work.cleaned.is_set()
    assert list(body) == []


def test_what_nobody_has_started_is_dropped() -> None:
    """A queued coroutine is closed without a step, also in the main thread."""
    began: list[str] = []

    async def late() -> None:
        began.append("late")

    def view(environ: WSGIEnvironment) -> list[bytes]:
        with busy_loop(loop_from(environ)):
            coros.append(late())
            futures.append(scope_from(environ).submit_task(coros[0]))
            scope_from(environ).end()
        return []

    coros: list[Any] = []
    futures: list[Any] = []
    serve(app_of(view, id="dropped"))
    assert inspect.getcoroutinestate(coros[0]) == inspect.CORO_CLOSED
    assert futures[0].cancelled()
    assert began == []


@contextmanager
def busy_loop(manager: AsyncioLoopManager) -> Iterator[None]:
    """In the block somebody's coroutine blocks the loop, so that nobody can start another."""
    began, release = threading.Event(), threading.Event()

    async def block() -> None:
        began.set()
        reached(release)

    future = manager.submit_task(block())
    reached(began)
    try:
        yield
    finally:
        release.set()
        future.result(LIMIT)


@on_worker
def test_who_resists_is_named_and_does_not_hold_the_response(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """All together get one grace; who does not end in it is in the log, and goes on."""
    stubborn = [Stubborn(), Stubborn()]
    obedient = Endless()
    futures: list[Any] = []

    def view(environ: WSGIEnvironment) -> list[bytes]:
        futures.extend(begin(environ, one) for one in stubborn)
        begin(environ, obedient)
        return [b"ok"]

    assert serve(app_of(view, grace=0.05)) == b"ok"
    assert obedient.cleaned.is_set()
    for one in stubborn:
        reached(one.refused)
    lines = our_log(caplog)
    assert len(lines) == 2
    for line in lines:
        assert "Stubborn.wait (GET /) did not end within 0.05 s after its request" in line
    for one in stubborn:
        one.release()
    assert [future.result(LIMIT) for future in futures] == ["released"] * 2


@on_worker
def test_an_exception_that_nobody_retrieves_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A task that fails unseen leaves its traceback in the log, also if it fails in its cleanup."""

    class Failing(Endless):
        async def wait(self) -> Any:
            try:
                await super().wait()
            finally:
                raise LookupError("lost")

    def view(environ: WSGIEnvironment) -> list[bytes]:
        begin(environ, Failing())
        return []

    serve(app_of(view))
    # Not asyncio's own, which complains of slow callbacks on a busy machine.
    wait_until(lambda: bool(our_log(caplog)), "the log has it")
    (record,) = (one for one in caplog.records if one.name == "wsgi_async")
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], LookupError)


@on_worker
def test_results_and_refusals_are_the_managers() -> None:
    """The scope gives what the manager gives, and refuses what it refuses."""

    def view(environ: WSGIEnvironment) -> list[bytes]:
        scope = scope_from(environ)
        assert isinstance(scope, RequestScope)
        assert scope.submit_task(give("page"), True, "pages").result(LIMIT) == "page"
        with pytest.raises(LookupError, match="lost"):
            scope.submit_task(throw(LookupError("lost")), task_type="pages").result(LIMIT)
        with pytest.raises(UnknownAsyncTaskError):
            scope.submit_task(give("page"))
        with pytest.raises(TypeError, match="is not a coroutine"):
            scope.submit_task(give, task_type="pages")  # type: ignore[arg-type]
        return []

    serve(app_of(view, id="typed", task_type="pages"))


@pytest.mark.parametrize("used", [False, True], ids=["unused", "used"])
@on_worker
def test_after_the_request_it_takes_nothing(used: bool) -> None:
    """A scope that somebody kept refuses, says what to do, and the coroutine is closed."""
    scopes: list[RequestScope] = []

    def view(environ: WSGIEnvironment) -> list[bytes]:
        scopes.append(scope_from(environ))
        if used:
            assert scopes[0].submit_task(give("page")).result(LIMIT) == "page"
        return []

    serve(app_of(view))
    coro = give("page")
    with pytest.raises(RuntimeError, match=r"over.*the manager's submit_task"):
        scopes[0].submit_task(coro)
    assert inspect.getcoroutinestate(coro) == inspect.CORO_CLOSED
    with pytest.raises(RuntimeError, match="over"):
        scopes[0].timeout(5)
    assert "over" in repr(scopes[0])


@on_worker
def test_a_manager_that_was_stopped_meanwhile_takes_nothing() -> None:
    """A stop ends the scope's tasks too; what comes after it is refused, with the way out."""
    work = Endless()

    def view(environ: WSGIEnvironment) -> list[bytes]:
        scope, manager = scope_from(environ), loop_from(environ)
        future = begin(environ, work)
        manager.stop()
        with pytest.raises(RuntimeError, match="was stopped"):
            future.result(LIMIT)
        with pytest.raises(RuntimeError, match=r"start\(\)"):
            scope.submit_task(give("page"))
        manager.start()
        with pytest.raises(RuntimeError, match="stopped meanwhile"):
            scope.submit_task(give("page"))
        manager.stop()
        return [b"ok"]

    assert serve(app_of(view, id="stopped")) == b"ok"


@on_worker
def test_nested_middlewares_have_one_scope() -> None:
    """The outer one's: what the application submits lives until the outer one is closed."""
    work = Endless()
    seen: list[RequestScope] = []

    def view(environ: WSGIEnvironment) -> Iterator[bytes]:
        begin(environ, work)
        seen.append(scope_from(environ))
        yield b"ok"

    inner = app_of(view)

    def between(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        seen.append(scope_from(environ))
        body: Any = inner(environ, start_response)
        pieces = list(body)
        body.close()
        assert not work.cleaned.is_set()
        return pieces

    assert serve(AsyncLoopMiddleware(between)) == b"ok"
    assert seen[0] is seen[1]
    assert work.cleaned.is_set()


@on_worker
def test_the_managers_own_tasks_go_on() -> None:
    """Only what was submitted to the scope ends with the request."""
    work = Endless()

    def view(environ: WSGIEnvironment) -> list[bytes]:
        futures.append(loop_from(environ).submit_task(work.wait()))
        reached(work.began)
        assert scope_from(environ).submit_task(give(1)).result(LIMIT) == 1
        return []

    futures: list[Any] = []
    serve(app_of(view))
    assert not futures[0].done()
    assert not work.cleaned.is_set()


def test_a_thread_that_runs_a_loop_cancels_and_does_not_wait(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An application that is tried out in a coroutine does not stop the loop at its end.

    Here its task ends only after that, so a wait would end with a complaint in the log.
    """
    work = Stubborn()
    futures: list[Any] = []

    def view(environ: WSGIEnvironment) -> list[bytes]:
        futures.append(begin(environ, work))
        return [b"ok"]

    async def main() -> bytes:
        return serve(app_of(view, id="in a loop", grace=0.01))

    assert asyncio.run(main()) == b"ok"
    reached(work.refused)
    assert our_log(caplog) == []
    work.release()
    assert futures[0].result(LIMIT) == "released"


@on_worker
def test_tasks_that_come_while_it_ends_are_over_too() -> None:
    """A task that submits another in its cleanup gets a refusal or an end, never a leftover."""
    ends: list[str] = []

    def view(environ: WSGIEnvironment) -> list[bytes]:
        scope = scope_from(environ)

        class Prolific(Endless):
            async def wait(self) -> Any:
                try:
                    await super().wait()
                finally:
                    with pytest.raises(RuntimeError, match="over"):
                        scope.submit_task(give("more"))
                    ends.append("refused")

        begin(environ, Prolific())
        return []

    serve(app_of(view))
    assert ends == ["refused"]


def test_the_look_up_outside_of_a_request_names_the_way_out() -> None:
    """Without the middleware the error says how to wrap the application."""
    with pytest.raises(LookupError, match=r"'async\.scope'.*AsyncLoopMiddleware\(app\)"):
        scope_from(make_environ())


def fork_in_a_request() -> None:
    """For a process of its own: the child of a request closes the response as well."""
    work = Endless()

    def view(environ: WSGIEnvironment) -> Iterator[bytes]:
        begin(environ, work)
        yield b"ok"

    body: Any = app_of(view)(make_environ(), ignore_start)
    next(body)
    in_child(body.close)
    assert not work.cleaned.is_set()
    body.close()
    assert work.cleaned.is_set()
    say("closed")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_forked_child_that_closes_the_response_does_not_hang() -> None:
    """The tasks are the parent's; the child leaves them alone, and the parent ends them."""
    assert in_process(fork_in_a_request) == "closed\n"


def test_the_end_of_a_scope_on_a_busy_resident_loop_is_bounded(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ended by another thread, its task that does not end is logged; nothing is raised."""
    monkeypatch.setattr(resident, "PATIENCE", 0.05)
    begun, go_on = threading.Event(), threading.Event()

    def open_scope() -> RequestScope:
        scope = RequestScope(current_manager(), contextvars.copy_context())
        scope.submit_task(asyncio.sleep(LIMIT))
        return scope

    def occupy() -> None:
        begun.set()
        assert go_on.wait(LIMIT)

    with LoopThreadPoolExecutor(1, grace=0.5) as pool:
        scope = pool.submit(open_scope).result(LIMIT)
        pool.submit(occupy)
        reached(begun)
        scope.end()
        go_on.set()
    assert any("sleep did not end within 0.5 s" in line for line in our_log(caplog))
