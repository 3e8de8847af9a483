"""A CancelledError on its way to the server, which ends its thread on what is no Exception."""

from __future__ import annotations

import asyncio
import concurrent.futures
from typing import TYPE_CHECKING, Any

import pytest

from tests.core.support import on_worker
from tests.middleware.wsgi import ignore_start, make_environ
from wsgi_async import AsyncLoopMiddleware, TaskCancelledError, loop_from

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from wsgiref.types import StartResponse, WSGIEnvironment


async def cancel_itself() -> None:
    """As anyio's cancel scopes and clients' timeouts do."""
    task = asyncio.current_task()
    assert task is not None
    task.cancel("enough")
    await asyncio.sleep(0)


def by_run(environ: WSGIEnvironment) -> None:
    loop_from(environ).run(cancel_itself())


def by_result(environ: WSGIEnvironment) -> None:
    loop_from(environ).submit_task(cancel_itself()).result()


def by_itself(environ: WSGIEnvironment) -> None:
    raise asyncio.CancelledError("enough")


async def cancelled_numbers() -> Any:
    yield 1
    await cancel_itself()


def by_stream(environ: WSGIEnvironment) -> None:
    list(loop_from(environ).iterate(cancelled_numbers()))


class Body:
    """A body that raises where it is told to."""

    def __init__(self, environ: WSGIEnvironment, where: str, way: Any) -> None:
        self.environ, self.where, self.way = environ, where, way

    def at(self, where: str) -> None:
        if where == self.where:
            self.way(self.environ)

    def __iter__(self) -> Iterator[bytes]:
        self.at("iter")
        return self

    def __next__(self) -> bytes:
        self.at("next")
        raise StopIteration

    def close(self) -> None:
        self.at("close")


@pytest.mark.parametrize("way", [by_run, by_result, by_itself, by_stream])
@pytest.mark.parametrize("where", ["app", "iter", "next", "close"])
@on_worker
def test_the_server_gets_an_exception_that_it_can_answer(
    where: str, way: Callable[[WSGIEnvironment], None]
) -> None:
    """Frameworks and servers answer it with an error page; it is still a CancelledError."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Body:
        body = Body(environ, where, way)
        body.at("app")
        return body

    def serve() -> None:
        body = AsyncLoopMiddleware(app)(environ, ignore_start)
        try:
            list(body)
        finally:
            body.close()  # type: ignore[attr-defined]

    environ = make_environ()
    with pytest.raises(concurrent.futures.CancelledError) as caught:
        serve()
    assert isinstance(caught.value, Exception)
    assert caught.value.__cause__ is not caught.value
    if way is not by_result:  # concurrent.futures has its own
        assert isinstance(caught.value, asyncio.CancelledError)
        assert isinstance(caught.value, TaskCancelledError)
    assert not {"async.loop", "async.scope"} & environ.keys()


@pytest.mark.parametrize("where", ["app", "iter", "next", "close"])
@on_worker
def test_it_says_where_it_came_from(where: str) -> None:
    """The log's traceback shows the line that was canceled, and the message stays."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Body:
        body = Body(environ, where, by_itself)
        body.at("app")
        return body

    def serve() -> None:
        body = AsyncLoopMiddleware(app)(make_environ(), ignore_start)
        try:
            list(body)
        finally:
            body.close()  # type: ignore[attr-defined]

    with pytest.raises(TaskCancelledError, match="enough") as caught:
        serve()
    cause = caught.value.__cause__
    assert type(cause) is asyncio.CancelledError
    assert cause.__traceback__ is not None


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
@on_worker
def test_what_is_to_end_the_process_goes_through(error: BaseException) -> None:
    """An exit is an exit."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Any:
        raise error

    with pytest.raises(type(error)) as caught:
        AsyncLoopMiddleware(app)(make_environ(), ignore_start)
    assert caught.value is error


@on_worker
def test_the_applications_own_handler_sees_what_run_raised() -> None:
    """Within the application `except asyncio.CancelledError` works, as `except Exception` does."""
    seen: list[BaseException] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        try:
            by_run(environ)
        except asyncio.CancelledError as error:
            seen.append(error)
        try:
            by_run(environ)
        except Exception as error:
            seen.append(error)
        return [b"handled"]

    assert AsyncLoopMiddleware(app)(make_environ(), ignore_start) == [b"handled"]
    assert [type(error) for error in seen] == [TaskCancelledError] * 2
