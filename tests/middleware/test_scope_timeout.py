"""`scope.timeout()`: what the request's deadline bounds, from when, and until when."""

from __future__ import annotations

import contextvars
import gc
import math
from typing import TYPE_CHECKING, Any

import pytest
from flask import Flask, request

from tests.core.support import LIMIT, Endless, give, in_thread, on_worker, reached
from tests.middleware.test_scope import app_of
from tests.middleware.wsgi import ignore_start, make_environ, serve
from wsgi_async import AsyncLoopMiddleware, RequestScope, SyncFuture, loop_from, scope_from
from wsgi_async.core.base.deadlines import bounded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from wsgiref.types import WSGIEnvironment


def left() -> float:
    """The seconds that a wait has from now on."""
    seconds = bounded(None)
    return math.inf if seconds is None else seconds


def in_view(check: Callable[[WSGIEnvironment], None], **options: Any) -> None:
    """Serve one request whose view makes these checks."""

    def view(environ: WSGIEnvironment) -> list[bytes]:
        check(environ)
        return [b"ok"]

    assert serve(app_of(view, **options)) == b"ok"


@on_worker
def test_every_wait_of_the_request_ends_at_the_deadline() -> None:
    """One limit for all calls together: those after it do not begin."""

    def view(environ: WSGIEnvironment) -> None:
        scope, loop = scope_from(environ), loop_from(environ)
        work = Endless()
        future = scope.submit_task(work.wait())
        reached(work.began)
        slow = Endless()
        scope.timeout(0.3)
        with pytest.raises(TimeoutError, match="the request's deadline"):
            loop.run(slow.wait(), timeout=1000)
        assert slow.cleaned.is_set()
        with pytest.raises(TimeoutError, match="the request's deadline"):
            future.result()
        with pytest.raises(TimeoutError, match="not started"):
            loop.run(give("page"))
        assert not work.cleaned.is_set()  # the scope's tasks go on until the end

    in_view(view)


@on_worker
def test_the_next_request_on_the_thread_has_none() -> None:
    """One request's deadline is not another's."""

    def first(environ: WSGIEnvironment) -> None:
        scope_from(environ).timeout(0)

    def second(environ: WSGIEnvironment) -> None:
        assert loop_from(environ).run(give("page")) == "page"

    in_view(first)
    in_view(second)
    assert left() == math.inf


@on_worker
def test_a_block_gives_back_what_was_before() -> None:
    """`with scope.timeout()` holds in its block, whatever comes out of it."""

    def view(environ: WSGIEnvironment) -> None:
        scope, loop = scope_from(environ), loop_from(environ)
        with pytest.raises(TimeoutError), scope.timeout(0):
            loop.run(give("page"))
        assert left() == math.inf
        scope.timeout(1000)
        with scope.timeout(10):
            assert left() <= 10
        assert 900 < left() <= 1000
        assert loop.run(give("page")) == "page"

    in_view(view)


@on_worker
def test_a_deadline_can_be_tightened_but_not_put_off() -> None:
    """Of several the nearest counts, in whichever order they come and go."""

    def view(environ: WSGIEnvironment) -> None:
        scope = scope_from(environ)
        scope.timeout(1000)
        scope.timeout(5000)
        assert left() <= 1000
        outer, inner = scope.timeout(10), scope.timeout(100)
        outer.__enter__()
        inner.__enter__()
        assert left() <= 10
        outer.__exit__(None, None, None)
        assert 10 < left() <= 100
        inner.__exit__(None, None, None)
        assert 100 < left() <= 1000
        with scope.timeout(500):
            scope.timeout(50)  # for the rest of the request, not of the block
        assert left() <= 50

    in_view(view)


@on_worker
def test_no_limit_is_none_or_infinity() -> None:
    """A limit that comes from a setting need not be there."""

    def view(environ: WSGIEnvironment) -> None:
        scope = scope_from(environ)
        scope.timeout(math.inf)
        with scope.timeout(None):
            assert left() == math.inf
        for wrong, error in (("5", TypeError), (math.nan, ValueError)):
            with pytest.raises(error):
                scope.timeout(wrong)  # type: ignore[arg-type]
        assert loop_from(environ).run(give("page")) == "page"

    in_view(view)


@on_worker
def test_a_deadline_in_the_cleanup_of_a_stream_without_one() -> None:
    """A generator that is closed early may set one in its `finally`, whatever was set before."""
    lefts: list[float] = []

    def view(environ: WSGIEnvironment) -> Iterator[bytes]:
        scope = scope_from(environ)
        with scope.timeout(None):
            try:
                yield b"1"
            finally:
                with scope.timeout(5):
                    lefts.append(left())
                lefts.append(left())

    body: Any = app_of(view)(make_environ(), ignore_start)
    assert next(iter(body)) == b"1"
    body.close()
    assert 0 < lefts[0] <= 5
    assert lefts[1] == math.inf


@on_worker
def test_a_deadline_leaves_nothing_to_the_collector() -> None:
    """The scope of a request that is over is gone, with what it refers to."""

    def view(environ: WSGIEnvironment) -> None:
        scope_from(environ).timeout(1000)

    def scopes() -> list[RequestScope]:
        return [one for one in gc.get_objects() if type(one) is RequestScope]

    gc.collect()
    gc.disable()
    try:
        before = scopes()  # of requests whose exception another test module still keeps
        in_view(view)
        assert [one for one in scopes() if one not in before] == []
    finally:
        gc.enable()


@on_worker
def test_a_block_that_has_ended_does_not_begin_again() -> None:
    """What would bound nothing is refused, and says what to do."""

    def view(environ: WSGIEnvironment) -> None:
        limit = scope_from(environ).timeout(1000)
        with limit:
            pass
        with pytest.raises(RuntimeError, match="has ended"), limit:
            pytest.fail("entered")

    in_view(view)


@on_worker
def test_a_stream_has_the_deadline_that_its_application_set() -> None:
    """It holds while the server reads the body, also in another thread."""

    def view(environ: WSGIEnvironment) -> Iterator[bytes]:
        scope_from(environ).timeout(0)

        def body() -> Iterator[bytes]:
            with pytest.raises(TimeoutError, match="not started"):
                loop_from(environ).run(give("page"))
            yield b"one"

        return body()

    body: Any = app_of(view)(make_environ(), ignore_start)
    assert in_thread(next, body) == b"one"
    body.close()


@pytest.mark.parametrize("block", [False, True])
@on_worker
def test_cleanup_in_close_is_not_bound(block: bool) -> None:
    """A body's `finally` runs its coroutines although the deadline is over."""
    closed: list[str] = []

    def view(environ: WSGIEnvironment) -> Iterator[bytes]:
        scope, loop = scope_from(environ), loop_from(environ)
        scope.timeout(0)
        try:
            if block:
                with scope.timeout(0):
                    yield b"one"
            yield b"one"
        finally:
            closed.append(loop.run(give("closed")))
            with scope.timeout(1000):
                assert left() <= 1000
            assert left() == math.inf

    body: Any = app_of(view)(make_environ(), ignore_start)
    assert next(body) == b"one"
    body.close()
    assert closed == ["closed"]


@on_worker
def test_the_scopes_end_is_not_bound() -> None:
    """Tasks that are cancelled at the end get their grace, also after the deadline."""
    work = Endless()

    def view(environ: WSGIEnvironment) -> None:
        scope = scope_from(environ)
        scope.submit_task(work.wait())
        reached(work.began)
        scope.timeout(0)

    in_view(view)
    assert work.cleaned.is_set()


@on_worker
def test_where_it_would_not_hold_it_is_refused() -> None:
    """In a coroutine, a copy of the context or another thread it would bind nothing, or others."""

    def view(environ: WSGIEnvironment) -> None:
        scope = scope_from(environ)

        async def in_coroutine() -> None:
            scope.timeout(0)

        for call in (
            lambda: loop_from(environ).run(in_coroutine()),
            lambda: in_thread(scope.timeout, 0),
            lambda: contextvars.copy_context().run(scope.timeout, 0),
        ):
            with pytest.raises(RuntimeError, match=r"asyncio\.timeout"):
                call()
        assert left() == math.inf

    in_view(view)


@on_worker
def test_a_request_within_a_request_keeps_the_outer_deadline() -> None:
    """An application that asks another in process waits for it no longer than it may."""

    def inner(environ: WSGIEnvironment) -> None:
        with scope_from(environ).timeout(1000):
            assert left() <= 10
        assert left() <= 10

    def outer(environ: WSGIEnvironment) -> None:
        scope_from(environ).timeout(10)
        in_view(inner)
        assert left() <= 10

    in_view(outer)


@on_worker
def test_cleanup_of_a_request_within_a_request_is_not_bound() -> None:
    """The inner body's `finally` runs its coroutines although the outer deadline is over."""
    closed: list[str] = []

    def inner(environ: WSGIEnvironment) -> Iterator[bytes]:
        try:
            yield b"one"
        finally:
            closed.append(loop_from(environ).run(give("closed")))
            with scope_from(environ).timeout(1000):
                assert left() <= 1000
            assert left() == math.inf

    def outer(environ: WSGIEnvironment) -> None:
        with scope_from(environ).timeout(0):
            body: Any = app_of(inner)(make_environ(), ignore_start)
            assert next(body) == b"one"
            body.close()
            assert left() == 0

    in_view(outer)
    assert closed == ["closed"]


@on_worker
def test_work_for_the_manager_outlives_the_deadline() -> None:
    """What is submitted to the manager may wait in sync code; what is the scope's may not."""

    def view(environ: WSGIEnvironment) -> None:
        scope, loop = scope_from(environ), loop_from(environ)

        async def seconds() -> float:
            return left()

        futures: list[SyncFuture[float]] = [
            loop.submit_task(seconds()),
        ]
        with scope.timeout(1000):
            futures.append(loop.submit_task(seconds()))
            futures.append(scope.submit_task(seconds()))
            results = [future.result(LIMIT) for future in futures]
        assert results[:2] == [math.inf] * 2
        assert results[2] <= 1000

    in_view(view)


@on_worker
def test_a_block_in_a_body_that_nobody_closes_harms_nobody() -> None:
    """The collector ends it in some other context, whose deadline stays as it is."""

    def view(environ: WSGIEnvironment) -> Iterator[bytes]:
        with scope_from(environ).timeout(10):
            yield b"one"

    body: Any = app_of(view)(make_environ(), ignore_start)
    assert next(body) == b"one"

    def other(environ: WSGIEnvironment) -> None:
        nonlocal body
        scope_from(environ).timeout(1000)
        del body
        gc.collect()
        assert 900 < left() <= 1000

    in_view(other)


@on_worker
def test_a_flask_view_sets_it_for_all_of_its_request() -> None:
    """A hook before the view bounds the view's waits; the server's thread is untouched."""
    app = Flask(__name__)
    app.wsgi_app = AsyncLoopMiddleware(app.wsgi_app)  # type: ignore[method-assign]
    scopes: list[RequestScope] = []

    @app.before_request
    def limit() -> None:
        scopes.append(scope_from(request.environ))
        scopes[0].timeout(0)

    @app.get("/")
    def index() -> str:
        return loop_from(request.environ).run(give("page"))

    @app.errorhandler(TimeoutError)
    def late(_: TimeoutError) -> tuple[str, int]:
        return "too late", 504

    response = app.test_client().get("/")
    assert (response.text, response.status_code) == ("too late", 504)
    assert left() == math.inf
