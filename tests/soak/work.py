"""The coroutines and resources of the application that the soak serves."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections import Counter
from contextlib import closing, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

import aiosqlite
import httpx2

from wsgi_async import loop_resource, run_in_calling_thread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

token_of_request: ContextVar[str] = ContextVar("token of the request")

_lock = threading.Lock()
_open: Counter[str] = Counter()  # guarded by _lock
_preparing = threading.Lock()


@contextmanager
def counted(name: str) -> Iterator[None]:
    """Count what is open under a name, so that what is left open shows."""
    with _lock:
        _open[name] += 1
    try:
        yield
    finally:
        with _lock:
            _open[name] -= 1


def open_now() -> dict[str, int]:
    """What is open, without the resources, which stay open."""
    with _lock:
        return {name: count for name, count in _open.items() if count and name != "resources"}


def resources_open() -> int:
    with _lock:
        return _open["resources"]


class Planned(Exception):
    """What a coroutine raises on purpose."""


class PlannedBase(BaseException):
    """The same, but not an Exception."""


MISTAKE = int(os.environ.get("SOAK_MISTAKE", "0"))
"""What the sums are wrong by: with it the soak has to fail."""

RAISES = {
    "Planned": Planned,
    "PlannedBase": PlannedBase,
    "SystemExit": SystemExit,
    "KeyboardInterrupt": KeyboardInterrupt,
    "CancelledError": asyncio.CancelledError,
}


@loop_resource
async def upstream() -> AsyncIterator[httpx2.AsyncClient]:
    """A client that keeps one connection, so that the number of descriptors stays the same."""
    limits = httpx2.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=None)
    with counted("resources"):
        async with httpx2.AsyncClient(
            base_url=os.environ["SOAK_UPSTREAM"],
            limits=limits,
            timeout=20,
            trust_env=False,
            verify=False,  # to read all certificates would be most of a new worker's work
        ) as client:
            yield client


@loop_resource
async def database() -> AsyncIterator[aiosqlite.Connection]:
    """A connection to the worker's file."""
    path = f"{os.environ['SOAK_FOLDER']}/{os.getpid()}.db"
    prepare(path)
    with counted("resources"):
        async with aiosqlite.connect(path, timeout=20, isolation_level=None) as connection:
            await connection.execute("PRAGMA synchronous = OFF")
            yield connection


def prepare(path: str) -> None:
    """Make the file, unless it is there.

    SQLite waits for no lock while it changes the journal's mode, so one thread at a time does.
    """
    with _preparing, closing(sqlite3.connect(path, timeout=20)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE IF NOT EXISTS notes (token TEXT, value INT)")


async def total(number: int) -> int:
    """The sum of the numbers below it, each from a task that sees the request's token."""
    token = token_of_request.get()
    with counted("total"):
        parts = await asyncio.gather(*(part(each, token) for each in range(number)))
    return sum(parts) + MISTAKE


async def part(number: int, token: str) -> int:
    await asyncio.sleep(0 if number % 3 else number / 10_000)
    assert token_of_request.get() == token
    return number


async def ask_upstream(token: str, times: int) -> list[str]:
    client = await upstream()
    return [(await client.get(f"/echo/{token}-{each}")).text for each in range(times)]


async def write_and_read(token: str, number: int) -> int:
    """Write a row for each number, and add them up again."""
    notes = await database()
    for each in range(number):
        await notes.execute("INSERT INTO notes VALUES (?, ?)", (token, each))
    query = "DELETE FROM notes WHERE token = ? RETURNING value"
    return sum([row[0] for row in await notes.execute_fetchall(query, (token,))])


async def forever(name: str) -> None:
    """Wait until it is canceled, and clean up with an await."""
    with counted(name):
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)


async def fail(kind: str, token: str) -> None:
    with counted("fail"):
        await asyncio.sleep(0)
        raise RAISES[kind](token)


async def ticks(token: str, count: int | None) -> AsyncIterator[bytes]:
    """A line for each number up to the count; without one they do not end."""
    number = 0
    with counted("ticks"):
        while count is None or number < count:
            await asyncio.sleep(0.001)
            assert token_of_request.get() == token
            yield b"%s %d\n" % (token.encode(), number)
            number += 1


async def from_caller(token: str) -> str:
    """Have the waiting thread say its token."""
    return await run_in_calling_thread(lambda: f"{token_of_request.get()} {token}")
