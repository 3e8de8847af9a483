"""The applications that gunicorn runs: streams without an end, and cancellations that get out."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, NoReturn

from flask import Flask, Response

from wsgi_async import AsyncLoopMiddleware, loop_from, loop_resource
from wsgi_async.integrations.flask import AsyncLoop, current_loop, stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator
    from wsgiref.types import StartResponse, WSGIEnvironment

    from wsgi_async import AsyncioLoopManager

LIMIT = 20.0

STEP = 0.02
"""Seconds between two items of a stream."""


def say(line: str) -> None:
    """Write a line to the log, in one piece."""
    os.write(2, f"{line}\n".encode())


# -- what a worker that leaves has to end ----------------------------------------------------------


async def ticks() -> AsyncIterator[bytes]:
    """A stream without an end."""
    try:
        for number in itertools.count():
            yield b"%d\n" % number
            await asyncio.sleep(STEP)
    finally:
        await asyncio.sleep(0)
        say("stream cleaned up")


@loop_resource
async def client() -> AsyncIterator[None]:
    """Open as long as its loop."""
    yield
    await asyncio.sleep(0)
    say("resource closed")


async def endless(began: Future[None]) -> None:
    """A task without an end."""
    await client()
    began.set_result(None)
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        await asyncio.sleep(0)
        say("task cleaned up")


def keep(manager: AsyncioLoopManager) -> bytes:
    """Have the thread's loop do something without an end."""
    began: Future[None] = Future()
    manager.submit_task(endless(began))
    began.result(LIMIT)
    return where()


def where() -> bytes:
    return json.dumps({"pid": os.getpid()}).encode()


# -- plain -----------------------------------------------------------------------------------------


async def cancelled() -> NoReturn:
    raise asyncio.CancelledError


def fail(*_: object) -> NoReturn:
    raise asyncio.CancelledError


class Body:
    """A body that fails at its first item, at its second, or when it is closed."""

    def __init__(self, fails: str) -> None:
        self._fails = fails
        self._items = 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        self._items += 1
        if self._fails == ("", "first", "second")[min(self._items, 2)]:
            fail()
        if self._items == 2:
            raise StopIteration
        return b"item"

    def close(self) -> None:
        if self._fails == "close":
            fail()


async def breaks() -> AsyncIterator[bytes]:
    yield b"item"
    raise asyncio.CancelledError


VIEWS: dict[str, Callable[[AsyncioLoopManager], Iterable[bytes]]] = {
    "/where": lambda _: [where()],
    "/keep": lambda manager: [keep(manager)],
    "/iterate": lambda manager: manager.iterate(ticks()),
    "/prefetch": lambda manager: manager.iterate(ticks(), prefetch=4),
    "/generator": lambda manager: (item for item in manager.iterate(ticks())),
    "/raise": fail,
    "/run": lambda manager: [manager.run(cancelled())],
    "/first": lambda _: Body("first"),
    "/second": lambda _: Body("second"),
    "/close": lambda _: Body("close"),
    "/stream": lambda manager: manager.iterate(breaks()),
}


def plain(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """One of the views above."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return VIEWS[environ["PATH_INFO"]](loop_from(environ))


app = AsyncLoopMiddleware(plain)


# -- Flask -----------------------------------------------------------------------------------------

flask = Flask(__name__)
AsyncLoop(flask)


@flask.get("/where")
def flask_where() -> bytes:
    return where()


@flask.get("/keep")
def flask_keep() -> bytes:
    return keep(current_loop)


@flask.get("/iterate")
def flask_stream() -> Response:
    return Response(stream(ticks()))


@flask.get("/prefetch")
def flask_prefetch() -> Response:
    return Response(stream(ticks(), prefetch=4))


@flask.get("/raise")
def flask_raise() -> NoReturn:
    fail()


@flask.get("/async")
async def flask_async() -> NoReturn:
    await cancelled()
    raise AssertionError


@flask.get("/run")
def flask_run() -> Any:
    return current_loop.run(cancelled())


@flask.teardown_request
def leave(_: BaseException | None) -> None:
    """Flask's own way of a request's end."""
