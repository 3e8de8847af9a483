"""The applications that the tests of gunicorn's workers serve."""

from __future__ import annotations

import asyncio
import os
import tempfile
import threading
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from tests.servers import apps
from wsgi_async import AsyncLoopMiddleware, loop_from, loop_resource

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment

FILE_SIZE = 4 << 20
"""Bytes; more than a socket takes at once."""


def here() -> str:
    return f"pid={os.getpid()} thread={threading.get_ident()}"


# -- views -----------------------------------------------------------------------------------


def threads(environ: WSGIEnvironment, query: dict[str, str]) -> dict[str, Any]:
    """Which thread answers, which one its coroutine runs on, and which ones there are."""
    apps.meet(environ, query)
    ran_on = loop_from(environ).run(_thread())
    names = sorted(thread.name for thread in threading.enumerate())
    return {"thread": threading.get_ident(), "ran_on": ran_on, "names": names}


async def _thread() -> int:
    await asyncio.sleep(0)
    return threading.get_ident()


@loop_resource
async def client() -> AsyncIterator[object]:
    """What is open on each loop."""
    apps.say(f"opened {here()}")
    yield object()
    await asyncio.sleep(0.01)
    apps.say(f"closed {here()}")


@loop_resource
async def database() -> AsyncIterator[object]:
    """The same, where another thread is needed to close it."""
    yield object()
    await asyncio.to_thread(apps.say, f"disconnected {here()}")


def use(environ: WSGIEnvironment, _: dict[str, str]) -> dict[str, Any]:
    """Use what is open on this thread's loop."""
    loop = loop_from(environ)
    loop.run(_connect())
    return {"client": loop.run(_use()), "pid": os.getpid(), "thread": threading.get_ident()}


async def _connect() -> None:
    await database()


async def _use() -> int:
    return id(await client())


def work(environ: WSGIEnvironment, query: dict[str, str]) -> dict[str, Any]:
    """A little of everything: a wait, a task in the background, a context manager, a stream."""
    loop, number = loop_from(environ), int(query["number"])
    future = loop.submit_task(asyncio.sleep(0.001, number))
    items = list(loop.iterate(_items(number)))
    return {"number": loop.run(asyncio.sleep(0.001, number)), "later": future.result(), "n": items}


async def _items(number: int) -> AsyncIterator[int]:
    for each in range(3):
        await asyncio.sleep(0)
        yield number + each


def compute(environ: WSGIEnvironment, query: dict[str, str]) -> dict[str, Any]:
    """Keep the thread busy for so many seconds, without its loop."""
    until = time.monotonic() + float(query["seconds"])
    apps.say("computing")
    while time.monotonic() < until:
        sum(range(1000))
    return {"thread": threading.get_ident()}


def shared(environ: WSGIEnvironment, query: dict[str, str]) -> dict[str, Any]:
    """As `threads`, with the manager and what is open on its loop."""
    return {
        **threads(environ, query),
        "pid": os.getpid(),
        "manager": id(loop_from(environ)),
        "client": loop_from(environ).run(_use()),
        "loop_class": type(loop_from(environ).get_event_loop()).__module__,
    }


apps.VIEWS.update(
    {"/threads": threads, "/use": use, "/work": work, "/compute": compute, "/shared": shared}
)
app = AsyncLoopMiddleware(apps.plain)
per_process = AsyncLoopMiddleware(apps.plain, per="process")


def on_uvloop(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """The same with uvloop's loops."""
    return _on_uvloop(environ, start_response)


def _uvloop() -> asyncio.AbstractEventLoop:
    import uvloop

    return uvloop.new_event_loop()


_on_uvloop = AsyncLoopMiddleware(apps.plain, loop_factory=_uvloop)


# -- streams ---------------------------------------------------------------------------------


async def silent() -> AsyncIterator[bytes]:
    """One piece, and then nothing for ever."""
    await client()
    try:
        yield b"one "
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0.01)
        apps.say("silent stream closed")


async def ticking() -> AsyncIterator[bytes]:
    """A piece now and then, for ever."""
    await client()
    try:
        while True:
            yield b"tick "
            await asyncio.sleep(0.02)
    finally:
        await asyncio.sleep(0.01)
        apps.say("ticking stream closed")


async def told(port: int) -> AsyncIterator[bytes]:
    """What the test says, until it hangs up."""
    await client()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        while line := await reader.readline():
            yield line
    finally:
        writer.close()
        apps.say("told stream closed")


def streaming(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """A stream of the kind that the path names, or a view's answer."""
    query = {name: values[0] for name, values in parse_qs(environ["QUERY_STRING"]).items()}
    kind, loop = environ["PATH_INFO"].lstrip("/"), loop_from(environ)
    if environ["PATH_INFO"] in apps.VIEWS:
        return apps.plain(environ, start_response)
    start_response("200 OK", [("Content-Type", "text/plain")])
    if kind == "told":
        return loop.iterate(told(int(query["port"])))
    prefetch = int(query.get("prefetch", "0"))
    return loop.iterate({"silent": silent, "ticking": ticking}[kind](), prefetch=prefetch)


streams = AsyncLoopMiddleware(streaming)


# -- without a loop --------------------------------------------------------------------------


def files(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """A file, which gunicorn sends, or the name of the socket's type. Reads no body."""
    if environ["PATH_INFO"] == "/plain":
        name = type(environ["gunicorn.socket"]).__name__.encode()
        start_response("200 OK", [("Content-Length", str(len(name)))])
        return [name]
    file = tempfile.TemporaryFile()  # noqa: SIM115 - gunicorn closes it
    file.write(bytes(FILE_SIZE))
    file.seek(0)
    start_response("200 OK", [("Content-Length", str(FILE_SIZE))])
    return environ["wsgi.file_wrapper"](file)  # type: ignore[no-any-return]
