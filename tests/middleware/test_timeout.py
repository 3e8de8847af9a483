"""`timeout=`: a deadline for all waits of each request."""

from __future__ import annotations

import asyncio
import contextvars
import math
import threading
from typing import TYPE_CHECKING, Any

import pytest

import wsgi_async
from tests.core.support import Endless, Worker, give, on_worker, reached
from tests.middleware.test_scope import app_of
from tests.middleware.test_scope_timeout import in_view, left
from tests.middleware.wsgi import ignore_start, make_environ
from wsgi_async import RequestScope, loop_from, scope_from

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from wsgiref.types import WSGIEnvironment


@pytest.mark.parametrize("per", ["thread", "process"])
@on_worker
def test_one_hung_call_does_not_take_the_thread_for_ever(per: str) -> None:
    """All waits of a request end together, and none begins after that."""

    def view(environ: WSGIEnvironment) -> None:
        loop, scope = loop_from(environ), scope_from(environ)
        future, slow = scope.submit_task(Endless().wait()), Endless()
        with pytest.raises(TimeoutError, match="the request's deadline"):
            loop.run(slow.wait())
        assert slow.cleaned.is_set()
        with pytest.raises(TimeoutError, match="the request's deadline"):
            future.result()
        for run in (loop.run, wsgi_async.run):
            with pytest.raises(TimeoutError, match="not started"):
                run(give("page"))

    in_view(view, timeout=0.1, per=per, id="timeout")


@on_worker
def test_each_request_has_its_own_time() -> None:
    """What one has used up is not missing in the next; outside of requests there is no limit."""

    def use_up(environ: WSGIEnvironment) -> None:
        with pytest.raises(TimeoutError):
            loop_from(environ).run(Endless().wait())

    def look(environ: WSGIEnvironment) -> None:
        assert 0 < left() <= 0.1

    in_view(use_up, timeout=0.1)
    in_view(look, timeout=0.1)
    assert left() == math.inf


@on_worker
def test_none_is_no_limit() -> None:
    """As it is by default."""

    def view(environ: WSGIEnvironment) -> None:
        assert left() == math.inf

    in_view(view)
    in_view(view, timeout=None)
    in_view(view, timeout=math.inf)


@on_worker
def test_a_request_can_tighten_it_but_not_put_it_off() -> None:
    """Of the option and `scope.timeout()` the nearest counts."""

    def view(environ: WSGIEnvironment) -> None:
        scope = scope_from(environ)
        scope.timeout(5000)
        assert 900 < left() <= 1000
        with scope.timeout(10):
            assert left() <= 10
        assert 900 < left() <= 1000

    in_view(view, timeout=1000)


@on_worker
def test_a_stream_is_bound_and_its_closing_is_not() -> None:
    """The time goes on while the server reads; a body that is closed runs its coroutines."""
    closed: list[str] = []

    def view(environ: WSGIEnvironment) -> Iterator[bytes]:
        loop = loop_from(environ)
        try:
            yield b"one"
            with pytest.raises(TimeoutError, match="not started"):
                loop.run(give("two"))
            yield b"late"
        finally:
            closed.append(loop.run(give("closed")))

    body: Any = app_of(view, timeout=0)(make_environ(), ignore_start)
    assert [next(body), next(body)] == [b"one", b"late"]
    body.close()
    assert closed == ["closed"]


def test_a_thread_that_a_request_begins_is_bound_until_the_request_is_over(runner: str) -> None:
    """A thread with a copy of the request's context, as Python may give it, lives on without."""
    bound, over = threading.Event(), threading.Event()
    lefts: list[float] = []

    def live_on() -> str:
        lefts.append(left())
        bound.set()
        over.wait(20)
        lefts.append(left())
        return wsgi_async.run(give("page"), timeout=20)

    with Worker() as other, Worker("view", resident=runner == "resident") as worker:

        def view(environ: WSGIEnvironment) -> None:
            futures.append(other.begin(contextvars.copy_context().run, live_on))
            reached(bound)

        futures: list[Any] = []
        worker.call(in_view, view, timeout=1000)
        over.set()
        assert futures[0].result(20) == "page"
    assert 900 < lefts[0] <= 1000
    assert lefts[1] == math.inf


@on_worker
def test_work_for_the_manager_is_not_bound() -> None:
    """What is to outlive the request may wait in sync code of its own."""

    async def seconds() -> float:
        return left()

    async def in_a_thread() -> float:
        return await asyncio.to_thread(left)

    def view(environ: WSGIEnvironment) -> None:
        loop = loop_from(environ)
        assert loop.submit_task(seconds()).result() == math.inf
        assert loop.run(seconds()) <= 1000
        assert loop.run(in_a_thread()) <= 1000
        assert loop.submit_task(in_a_thread()).result() == math.inf

    in_view(view, timeout=1000)


@on_worker
def test_a_long_stream_can_take_the_limit_away() -> None:
    """A view that sends events for hours lifts its limit, and the other views keep theirs."""

    async def ticks() -> AsyncIterator[bytes]:
        yield b"one"
        yield b"two"

    def events(environ: WSGIEnvironment) -> Iterator[bytes]:
        loop, scope = loop_from(environ), scope_from(environ)
        with pytest.raises(TimeoutError, match="not started"):
            loop.run(give("page"))
        scope.no_timeout()
        return loop.iterate(ticks())

    def page(environ: WSGIEnvironment) -> None:
        with pytest.raises(TimeoutError, match="not started"):
            loop_from(environ).run(give("page"))

    body: Any = app_of(events, timeout=0)(make_environ(), ignore_start)
    assert b"".join(body) == b"onetwo"
    body.close()
    in_view(page, timeout=0)


@on_worker
def test_an_async_view_can_take_it_away_too() -> None:
    """In a coroutine or in a thread that it starts; from then on the request's waits may last."""

    async def in_coroutine(scope: RequestScope) -> float:
        scope.no_timeout()
        return left()

    async def in_a_thread(scope: RequestScope) -> float:
        await asyncio.to_thread(scope.no_timeout)
        return left()

    def view(environ: WSGIEnvironment) -> None:
        loop, scope = loop_from(environ), scope_from(environ)
        assert left() <= 1000
        for take_away in (in_coroutine, in_a_thread):
            assert loop.run(take_away(scope)) == math.inf
        assert left() == math.inf

    in_view(view, timeout=1000)


@on_worker
def test_deadlines_of_the_request_itself_stay() -> None:
    """What was set with `scope.timeout()` is not the middleware's, and neither is what comes."""

    def view(environ: WSGIEnvironment) -> None:
        scope = scope_from(environ)
        with scope.timeout(100):
            scope.no_timeout()
            assert 10 < left() <= 100
            scope.timeout(10)
        assert left() <= 10

    in_view(view, timeout=5)


@on_worker
def test_a_request_within_a_request_takes_its_own_limit_away_only() -> None:
    """The application around it still waits no longer than it may."""

    def inner(environ: WSGIEnvironment) -> None:
        assert left() <= 5
        scope_from(environ).no_timeout()
        assert 5 < left() <= 100

    def outer(environ: WSGIEnvironment) -> None:
        in_view(inner, timeout=5)
        assert left() <= 100

    in_view(outer, timeout=100)


@on_worker
def test_there_need_not_be_a_limit_to_take_away() -> None:
    """A view does not have to know how the application is set up; after it, this is refused."""
    scopes: list[RequestScope] = []

    def view(environ: WSGIEnvironment) -> None:
        scopes.append(scope_from(environ))
        scopes[0].no_timeout()
        assert left() == math.inf

    in_view(view)
    with pytest.raises(RuntimeError, match="request is over"):
        scopes[0].no_timeout()
