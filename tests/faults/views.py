"""Views and coroutines that go wrong."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from typing import TYPE_CHECKING, NoReturn

from flask import Flask, request

from tests.faults.site import DEADLINE, application, forever, give, view
from wsgi_async import AsyncioLoopManager, loop_from, loop_resource, scope_from

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator
    from wsgiref.types import StartResponse, WSGIEnvironment


class OwnBase(BaseException):
    """Not an Exception."""


ERRORS: dict[str, type[BaseException]] = {
    "value": ValueError,
    "exit": SystemExit,
    "interrupt": KeyboardInterrupt,
    "base": OwnBase,
    "cancelled": asyncio.CancelledError,
    "memory": MemoryError,
}


async def fail(kind: str) -> NoReturn:
    await asyncio.sleep(0)
    raise ERRORS[kind]("of the coroutine")


# -- the view --------------------------------------------------------------------------------------


@application
def raises_before(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    raise ValueError("of the view")


@application
def raises_after(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    raise ValueError("of the view")


@application
def raises_os_error(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    raise ConnectionError("of the view")


flask = Flask(__name__)


@flask.get("/framework")
def framework_view() -> bytes:
    scope_from(request).timeout(DEADLINE)
    loop_from(request).run(forever())
    return b"never"


@application
def framework(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    return flask(environ, start_response)


class Body:
    """A body that fails at its second item, or as it is closed."""

    def __init__(self, fails: str) -> None:
        self._fails = fails

    def __iter__(self) -> Iterator[bytes]:
        yield b"first"
        if self._fails == "item":
            raise ValueError("of the body")

    def close(self) -> None:
        if self._fails == "close":
            raise ValueError("of the body")


@application
def raises_in_body(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return Body(environ["QUERY_STRING"])


@application
def stream_raises(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return loop_from(environ).iterate(breaks())


async def breaks() -> AsyncIterator[bytes]:
    yield b"first"
    raise ValueError("of the stream")


# -- the coroutine ---------------------------------------------------------------------------------


@view
def coroutine_raises(loop: AsyncioLoopManager, query: dict[str, str]) -> bytes:
    return loop.run(fail(query["kind"]))


@view
def task_raises(loop: AsyncioLoopManager, query: dict[str, str]) -> bytes:
    loop.submit_task(fail(query["kind"]))
    return b"sent"


@view
def asyncio_task_raises(loop: AsyncioLoopManager, query: dict[str, str]) -> bytes:
    loop.run(leave(query["kind"]))
    return b"sent"


async def leave(kind: str) -> None:
    task = asyncio.get_running_loop().create_task(fail(kind))
    await asyncio.wait([task])


@view
def never_ends(loop: AsyncioLoopManager, query: dict[str, str]) -> bytes:
    loop.run(forever())
    return b"never"


@view
def blocks(loop: AsyncioLoopManager, query: dict[str, str]) -> bytes:
    return loop.run(block())


async def block() -> bytes:
    threading.Event().wait(3 * DEADLINE)
    await asyncio.sleep(0)
    return b"late"


@view
def ignores_cancellation(loop: AsyncioLoopManager, query: dict[str, str]) -> bytes:
    loop.run(stubborn())
    return b"never"


async def stubborn() -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + 4 * DEADLINE
    while loop.time() < end:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(end - loop.time())


@view
def never_awaited(loop: AsyncioLoopManager, query: dict[str, str]) -> bytes:
    loop.run(forget())
    return b"sent"


async def forget() -> None:
    give(1)  # type: ignore[unused-coroutine]


# -- resources -------------------------------------------------------------------------------------


@loop_resource
async def broken() -> AsyncIterator[None]:
    raise LookupError("of the opening")
    yield


@loop_resource
async def slow() -> AsyncIterator[None]:
    await forever()
    yield


@loop_resource
async def closes_badly() -> AsyncIterator[None]:
    yield
    raise LookupError("of the closing")


@loop_resource
async def never_closes() -> AsyncIterator[None]:
    yield
    await forever()


@view
def opening_fails(loop: AsyncioLoopManager, query: dict[str, str]) -> bytes:
    loop.run(broken())
    return b"never"


@view
def opening_hangs(loop: AsyncioLoopManager, query: dict[str, str]) -> bytes:
    loop.run(slow())
    return b"never"


@view
def closing_fails(loop: AsyncioLoopManager, query: dict[str, str]) -> bytes:
    loop.run(closes_badly())
    return b"open"


@view
def closing_hangs(loop: AsyncioLoopManager, query: dict[str, str]) -> bytes:
    loop.run(never_closes())
    return b"open"


# -- clocks, loggers -------------------------------------------------------------------------------


@view
def clock_jumps(loop: AsyncioLoopManager, query: dict[str, str]) -> bytes:
    """The wall clock goes a day forward and two days back while a coroutine waits."""
    real = time.time
    offset = 0.0
    time.time = lambda: real() + offset
    try:
        future = loop.submit_task(asyncio.sleep(0.1, b"in time"))
        offset = 86_400.0
        loop.run(asyncio.sleep(0.01))
        offset = -86_400.0
        loop.run(asyncio.sleep(0.01))
        return future.result()
    finally:
        time.time = real


class Raises(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise ValueError("of the log")


@view
def logger_raises(loop: AsyncioLoopManager, query: dict[str, str]) -> bytes:
    """The log fails as it is told of a task's failure."""
    logger, handler = logging.getLogger("wsgi_async"), Raises()
    logger.addHandler(handler)
    try:
        loop.submit_task(fail("value"))
        loop.run(asyncio.sleep(0.05))
        return b"sent"
    finally:
        logger.removeHandler(handler)
