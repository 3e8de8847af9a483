"""PostgreSQL: a server, which several hosts share.

Each loop keeps a pool of one connection open, a loop resource: a thread serves one request at a
time. The pool replaces a connection that the server has closed.
"""

import functools
import re
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import psycopg
from psycopg_pool import AsyncConnectionPool

from example_app.databases.tables import TABLES, Row
from wsgi_async import LoopResource, loop_resource

ERRORS = (psycopg.Error,)

# How long to wait for the server (seconds).
CONNECT_SECONDS = 5

# One writer at a time, as with SQLite: what one has counted holds until it has written.
_ONE_WRITER = "SELECT pg_advisory_xact_lock(20)"
_ONE_MOMENT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"

_Pool: TypeAlias = "AsyncConnectionPool[psycopg.AsyncConnection]"


@dataclass(frozen=True, slots=True)
class _Transaction:
    """See `tables.Transaction`."""

    db: psycopg.AsyncConnection

    async def execute(self, sql: str, parameters: Mapping[str, object] | None = None) -> int:
        return (await self.db.execute(_translated(sql), parameters)).rowcount

    async def rows(self, sql: str, parameters: Mapping[str, object] | None = None) -> list[Row]:
        return list(await (await self.db.execute(_translated(sql), parameters)).fetchall())


@dataclass(frozen=True, slots=True)
class _Opened:
    """See `tables.Opened`."""

    db: psycopg.Connection

    def execute(self, sql: str, parameters: Mapping[str, object] | None = None) -> int:
        return self.db.execute(_translated(sql), parameters).rowcount

    def rows(self, sql: str, parameters: Mapping[str, object] | None = None) -> list[Row]:
        return list(self.db.execute(_translated(sql), parameters).fetchall())


@functools.cache
def _translated(sql: str) -> bytes:
    """A statement with `%(name)s` for `:name`, as psycopg has it."""
    return re.sub(r":(\w+)", r"%(\1)s", sql).encode()


def make(url: str) -> None:
    """Make the tables if they are not there yet; safe in several processes at once."""
    with opened(url) as db:
        for table in TABLES:
            db.execute(table.format(serial="INTEGER PRIMARY KEY GENERATED ALWAYS AS IDENTITY"))


@contextmanager
def opened(url: str) -> Generator[_Opened]:
    """A transaction before there is a loop."""
    with psycopg.connect(url, connect_timeout=CONNECT_SECONDS) as db:
        db.execute(_ONE_WRITER)
        yield _Opened(db)


@asynccontextmanager
async def turn(url: str, *, writing: bool) -> AsyncGenerator[_Transaction, None]:
    """A transaction: all as it is at one moment, or all or nothing, with one writer at a time."""
    pool = await _pool(url)()
    async with pool.connection() as db:
        await db.execute(_ONE_WRITER if writing else _ONE_MOMENT)
        yield _Transaction(db)


@functools.cache
def _pool(url: str) -> LoopResource[_Pool]:
    """The loop resource of one server."""

    @loop_resource
    async def connections() -> AsyncGenerator[_Pool, None]:
        opening: _Pool = AsyncConnectionPool(
            url,
            min_size=1,
            max_size=1,
            timeout=CONNECT_SECONDS,
            kwargs={"connect_timeout": CONNECT_SECONDS},
            check=AsyncConnectionPool.check_connection,
            open=False,
        )
        async with opening as pool:
            yield pool

    return connections
