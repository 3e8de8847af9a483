"""The applications that the server tests run in processes of their own."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import os
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs
from weakref import WeakKeyDictionary

from wsgi_async import (
    AsyncioLoopManager,
    AsyncLoopMiddleware,
    SyncFuture,
    loop_from,
    scope_from,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from wsgiref.types import StartResponse, WSGIEnvironment

    View = Callable[[WSGIEnvironment, dict[str, str]], Any]

LIMIT = 20.0

_meetings: dict[str, threading.Barrier] = {}
_futures: dict[str, SyncFuture[Any]] = {}
_numbers = itertools.count(1)
_visits: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, int]] = WeakKeyDictionary()


def say(line: str) -> None:
    """Write a line to the log, in one piece."""
    os.write(2, f"{line}\n".encode())


def where(environ: WSGIEnvironment, _: dict[str, str]) -> dict[str, Any]:
    """Who answers: process, thread and loop."""
    loop = loop_from(environ)
    return {
        "pid": os.getpid(),
        "thread": threading.get_ident(),
        "manager": id(loop),
        "loop": id(loop.get_event_loop()),
        "ran_on": loop.run(_running_loop()),
    }


async def _running_loop() -> int:
    await asyncio.sleep(0)
    return id(asyncio.get_running_loop())


def meet(environ: WSGIEnvironment, query: dict[str, str]) -> dict[str, Any]:
    """Wait until as many requests are in here, which proves that each has its thread."""
    here = where(environ, query)
    barrier = _meetings.setdefault(query["at"], threading.Barrier(int(query["parties"])))
    barrier.wait(LIMIT)
    return here


def count(environ: WSGIEnvironment, query: dict[str, str]) -> dict[str, Any]:
    """Which loop this is, and how many requests it has seen; first meets others if told to."""
    here = meet(environ, query) if "at" in query else where(environ, query)
    assert here["loop"] == here["ran_on"]
    # Not an id alone: the next loop may have the address of the last.
    visits = _visits.setdefault(
        loop_from(environ).get_event_loop(), {"loop": next(_numbers), "requests": 0}
    )
    visits["requests"] += 1
    return {**visits, "pid": here["pid"], "thread": here["thread"]}


def keep(environ: WSGIEnvironment, _: dict[str, str]) -> dict[str, Any]:
    """Start a coroutine that has no end, and whose cleanup leaves a line in the log."""
    began: SyncFuture[None] = SyncFuture()
    loop_from(environ).submit_task(_never_ends(began, threading.get_ident()))
    began.result(LIMIT)
    return {"pid": os.getpid(), "thread": threading.get_ident()}


async def _never_ends(began: SyncFuture[None], thread: int) -> None:
    began.set_result(None)
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0)
        say(f"cleaned up pid={os.getpid()} thread={thread}")


def call_back(environ: WSGIEnvironment, query: dict[str, str]) -> dict[str, Any]:
    """Start a coroutine that talks to the test, and do not wait for it."""
    talk = _talk(int(query["port"]))
    _futures["talk"] = loop_from(environ).submit_task(talk)
    return {"thread": threading.get_ident()}


def outcome(environ: WSGIEnvironment, _: dict[str, str]) -> dict[str, Any]:
    """What came of that coroutine."""
    return {"heard": _futures["talk"].result(LIMIT), "thread": threading.get_ident()}


def talk_now(environ: WSGIEnvironment, query: dict[str, str]) -> dict[str, Any]:
    """Talk to the test while the request waits."""
    return {"heard": loop_from(environ).run(_talk(int(query["port"])))}


async def _talk(port: int) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b"hello\n")
        heard = (await reader.readline()).decode().rstrip("\n")
        writer.write(f"you said {heard}\n".encode())
        await writer.drain()
    finally:
        writer.close()
    return heard


def late(environ: WSGIEnvironment, _: dict[str, str]) -> dict[str, Any]:
    """Wait for something that does not come, until the request's deadline."""
    scope_from(environ).timeout(0.2)
    try:
        loop_from(environ).run(asyncio.Event().wait())
    except TimeoutError as error:
        return {"error": str(error), "thread": threading.get_ident()}
    return {}


VIEWS: dict[str, View] = {
    "/where": where,
    "/meet": meet,
    "/count": count,
    "/keep": keep,
    "/call_back": call_back,
    "/outcome": outcome,
    "/talk_now": talk_now,
    "/late": late,
}


def plain(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """One of the views above, as JSON."""
    query = {name: values[0] for name, values in parse_qs(environ["QUERY_STRING"]).items()}
    answer = VIEWS[environ["PATH_INFO"]](environ, query)
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(answer).encode()]


class Sized:
    """A body that knows how many pieces it has, and is no list."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = pieces

    def __len__(self) -> int:
        return len(self._pieces)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._pieces)


def bodies(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """A body of the kind that the path names; it does not use the loop."""
    kind = environ["PATH_INFO"].lstrip("/")
    write = start_response("200 OK", [("Content-Type", "text/plain")])
    if kind == "write":
        write(b"wri")
        write(b"tten")
    made: dict[str, Iterable[bytes]] = {
        "list": [b"one"],
        "tuple": (b"one", b"two"),
        "sized": Sized(b"one"),
        "sized2": Sized(b"one", b"two"),
        "generator": (piece for piece in (b"one", b"two")),
        "file": environ.get("wsgi.file_wrapper", iter)(io.BytesIO(b"one" * 9000)),
        "write": [],
    }
    return made[kind]


def stream(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
    """A generator that uses the loop for each piece and for its end."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    try:
        for _ in range(3):
            yield b"%d " % loop_from(environ).run(_running_loop())
    finally:
        loop_from(environ).run(_running_loop())
        say("stream closed")


def scoped(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
    """A stream without an end, beside a task without one that belongs to the request."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    began: SyncFuture[None] = SyncFuture()
    scope_from(environ).submit_task(_never_ends(began, threading.get_ident()))
    began.result(LIMIT)
    while True:
        yield b"piece " * 10_000


def running() -> int:
    """How many managers run in this process."""
    return sum(manager.running for manager in AsyncioLoopManager.all_instances())


app = AsyncLoopMiddleware(plain)
wrapped_bodies = AsyncLoopMiddleware(bodies)
wrapped_stream = AsyncLoopMiddleware(stream)
wrapped_scoped = AsyncLoopMiddleware(scoped)
