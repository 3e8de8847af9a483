"""The application that the faults are tried on, and what its views share."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import threading
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qs

from tests.servers.apps import running, say
from wsgi_async import AsyncLoopMiddleware, loop_from, loop_resource, scope_from

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment

    from wsgi_async import AsyncioLoopManager

    View = Callable[[AsyncioLoopManager, dict[str, str]], bytes]
    Application = Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]]

T = TypeVar("T")

DEADLINE = 0.3
"""Seconds of a request whose fault is that something takes too long."""

GRACE = 0.3
"""Seconds that its coroutines may clean up."""

VIEWS: dict[str, Application] = {}


def application(function: Application) -> Application:
    """Serve a WSGI application under its name."""
    VIEWS["/" + function.__name__.replace("_", "-")] = function
    return function


def view(function: View) -> View:
    """Serve a function of the manager and the query, whose result is the body."""

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        query = {name: values[0] for name, values in parse_qs(environ["QUERY_STRING"]).items()}
        if "deadline" in query:
            scope_from(environ).timeout(DEADLINE)
        body = function(loop_from(environ), query)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [body]

    VIEWS["/" + function.__name__.replace("_", "-")] = answer
    return function


def plain(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """One of the views."""
    return VIEWS[environ["PATH_INFO"]](environ, start_response)


# -- what every server of the faults has -----------------------------------------------------------


@view
def state(loop: AsyncioLoopManager, query: dict[str, str]) -> bytes:
    """Who answers, with a mark in the log: what was written before it is there with it."""
    gc.collect()  # tasks may still be there, whose exception asyncio logs when they go
    seen = {
        "pid": os.getpid(),
        "answer": loop.run(give(1)),
        "unfinished": [task.get_name() for task in loop.run(others())],
        "managers": running(),
        "threads": threading.active_count(),
    }
    say(f"mark {query['mark']}")
    return json.dumps(seen).encode()


async def give(value: T) -> T:
    """A value, a turn of the loop later."""
    await asyncio.sleep(0)
    return value


async def others() -> list[asyncio.Task[Any]]:
    return [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]


async def forever() -> None:
    await asyncio.Event().wait()


async def wait_for_word(port: int) -> bytes:
    """Tell the test that this runs, and wait until the test answers."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b"waiting\n")
        return (await reader.readline()).rstrip(b"\n")
    except asyncio.CancelledError:
        say("wait canceled")
        raise
    finally:
        writer.close()


@view
def wait(loop: AsyncioLoopManager, query: dict[str, str]) -> bytes:
    """Wait for the test's word, and answer it."""
    return loop.run(wait_for_word(int(query["port"])))


@view
def work(loop: AsyncioLoopManager, query: dict[str, str]) -> bytes:
    """A little of everything, for the tests under load."""
    number = int(query["number"])
    say(f"began {number}")
    later = loop.submit_task(give(number))
    items = list(loop.iterate(count(number)))
    loop.run(client())
    return b"%d %d %d" % (loop.run(give(number)), later.result(), sum(items))


async def count(number: int) -> AsyncIterator[int]:
    for _ in range(3):
        await asyncio.sleep(0)
        yield number


@loop_resource
async def client() -> AsyncIterator[object]:
    """What is open on each loop."""
    say(f"opened {threading.get_ident()} in {os.getpid()}")
    yield object()
    await asyncio.sleep(0.001)
    say(f"closed {threading.get_ident()} in {os.getpid()}")


async def told(port: int) -> AsyncIterator[bytes]:
    """What the test says."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        while line := await reader.readline():
            yield line
    finally:
        writer.close()
        say("stream cleaned up")


@application
def stream(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """What the test says, as a stream."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return loop_from(environ).iterate(told(int(parse_qs(environ["QUERY_STRING"])["port"][0])))


def unwrapped(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """An application without wsgi_async: what the server itself does and loses."""
    number = int(parse_qs(environ["QUERY_STRING"])["number"][0])
    say(f"began {number}")
    threading.Event().wait(0.002)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%d %d %d" % (number, number, 3 * number)]


# Without asyncio's debug mode, which Python's development mode switches on, and which is slow.
app = AsyncLoopMiddleware(plain, grace=GRACE, debug=False)
