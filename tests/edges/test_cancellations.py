"""Cancellations that come out into sync code: frameworks and servers can answer them."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NoReturn

import pytest
from flask import Flask

from tests.edges.parts import PLACES, calling_from
from tests.middleware.wsgi import serve
from wsgi_async import AsyncLoopMiddleware, async_to_sync, loop_from, loop_resource, scope_from
from wsgi_async.integrations.flask import AsyncLoop, current_loop, stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator
    from wsgiref.types import StartResponse, WSGIEnvironment

    from tests.core.support import Worker
    from wsgi_async import AsyncioLoopManager

    Use = Callable[[AsyncioLoopManager], object]


async def cancelled() -> NoReturn:
    await asyncio.sleep(0)
    raise asyncio.CancelledError


async def cancels_itself() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)


async def waits_for_one() -> None:
    await asyncio.create_task(cancelled())


async def items() -> AsyncIterator[int]:
    yield 1
    raise asyncio.CancelledError


@loop_resource
async def resource() -> AsyncIterator[None]:
    await cancelled()
    yield


@asynccontextmanager
async def fails_to_enter() -> AsyncIterator[None]:
    await cancelled()
    yield


@asynccontextmanager
async def fails_to_exit() -> AsyncIterator[None]:
    yield
    await cancelled()


def enter(manager: AsyncioLoopManager) -> None:
    with manager.wrap_async_context_manager(fails_to_enter()):
        pass


def leave(manager: AsyncioLoopManager) -> None:
    with manager.wrap_async_context_manager(fails_to_exit()):
        pass


USES: dict[str, Use] = {
    "run": lambda manager: manager.run(cancelled()),
    "run, by itself": lambda manager: manager.run(cancels_itself()),
    "run, by a task": lambda manager: manager.run(waits_for_one()),
    "async_to_sync": lambda _: async_to_sync(cancelled)(),
    "iterate": lambda manager: list(manager.iterate(items())),
    "prefetch": lambda manager: list(manager.iterate(items(), prefetch=2)),
    "resource": resource.get,
    "enter": enter,
    "exit": leave,
    "future": lambda manager: manager.submit_task(cancelled()).result(),
    "sync future": lambda manager: manager.submit_task(cancelled(), True).result(),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("use", USES)
def test_sync_code_gets_an_exception(use: str, place: str) -> None:
    """A coroutine's cancellation is an Exception in sync code, so `except Exception` answers it."""
    with calling_from(place) as call:

        def called() -> BaseException:
            try:
                USES[use](call.manager)
            except BaseException as error:
                return error
            raise AssertionError("it returned")

        error = call(called)
        assert isinstance(error, Exception)
        if "future" not in use:  # those raise what the futures of the standard library do
            assert isinstance(error, asyncio.CancelledError)


# -- what leaves an application --------------------------------------------------------------------


class Body:
    """A body that fails while it is iterated, or when it is closed."""

    def __init__(self, fails: str) -> None:
        self._fails = fails

    def __iter__(self) -> Iterator[bytes]:
        yield b"item"
        if self._fails == "iterated":
            raise asyncio.CancelledError

    def close(self) -> None:
        if self._fails == "closed":
            raise asyncio.CancelledError


def fail() -> NoReturn:
    raise asyncio.CancelledError


def of_scope(environ: WSGIEnvironment) -> NoReturn:
    scope_from(environ).submit_task(cancelled(), True).result()
    raise AssertionError


APPS: dict[str, Callable[[WSGIEnvironment], Iterable[bytes]]] = {
    "raise": lambda _: fail(),
    "run": lambda environ: [str(loop_from(environ).run(cancelled())).encode()],
    "scope": of_scope,
    "iterated": lambda _: Body("iterated"),
    "closed": lambda _: Body("closed"),
}


@pytest.mark.parametrize("how", APPS)
def test_what_leaves_an_application_is_an_exception(how: str, worker: Worker) -> None:
    """A server gets an Exception from an application that lets a CancelledError out."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [])
        return APPS[how](environ)

    wrapped = AsyncLoopMiddleware(app)

    def request() -> BaseException:
        try:
            serve(wrapped)
        except BaseException as error:
            return error
        raise AssertionError("it returned")

    for _ in range(2):
        assert isinstance(worker.call(request), Exception)


def test_others_go_through_as_they_are(worker: Worker) -> None:
    """SystemExit, KeyboardInterrupt and whatever is an Exception leave an application unchanged."""
    for error in (SystemExit(3), KeyboardInterrupt(), LookupError("the view's")):

        def app(
            environ: WSGIEnvironment,
            start_response: StartResponse,
            error: BaseException = error,
        ) -> Iterable[bytes]:
            raise error

        def request(app: AsyncLoopMiddleware) -> BaseException:
            try:
                serve(app)
            except BaseException as caught:
                return caught
            raise AssertionError("it returned")

        assert worker.call(request, AsyncLoopMiddleware(app)) is error


# -- Flask -----------------------------------------------------------------------------------------


def make_flask() -> Flask:
    app = Flask(__name__)
    AsyncLoop(app, reuse=False)

    @app.get("/async")
    async def is_async() -> str:
        await cancelled()
        return "never"

    @app.get("/run")
    def run() -> str:
        current_loop.run(cancelled())
        return "never"

    @app.get("/stream")
    def first_item() -> str:
        return str(list(stream(items())))

    @app.errorhandler(Exception)
    def answer(error: Exception) -> tuple[str, int]:
        assert isinstance(error, asyncio.CancelledError)
        return "cancelled", 503

    return app


@pytest.mark.parametrize("path", ["/async", "/run", "/stream"])
def test_flask_answers_a_cancellation(path: str, worker: Worker) -> None:
    """Flask has its error handler answer, or says 500 where there is none."""
    app = make_flask()

    def ask() -> tuple[int, str]:
        response = app.test_client().get(path)
        return response.status_code, response.text

    assert worker.call(ask) == (503, "cancelled")
    app.error_handler_spec[None][None].clear()
    status, _ = worker.call(ask)
    assert status == 500
