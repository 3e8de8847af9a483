"""SQLite: a file, which the processes of one host share.

Each loop keeps one connection open, a loop resource. Its coroutines take turns, so that no two of
them meet in one transaction.
"""

import asyncio
import functools
import sqlite3
import time
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiosqlite

from example_app.databases.tables import TABLES, Row
from wsgi_async import LoopResource, loop_resource

ERRORS = (sqlite3.Error,)

# How long a writer waits for another one (seconds): all worker processes share the file.
BUSY_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class _Transaction:
    """See `tables.Transaction`."""

    db: aiosqlite.Connection

    async def execute(self, sql: str, parameters: Mapping[str, object] | None = None) -> int:
        return (await self.db.execute(sql, parameters or {})).rowcount

    async def rows(self, sql: str, parameters: Mapping[str, object] | None = None) -> list[Row]:
        return list(await self.db.execute_fetchall(sql, parameters or {}))


@dataclass(frozen=True, slots=True)
class _Opened:
    """See `tables.Opened`."""

    db: sqlite3.Connection

    def execute(self, sql: str, parameters: Mapping[str, object] | None = None) -> int:
        return self.db.execute(sql, parameters or {}).rowcount

    def rows(self, sql: str, parameters: Mapping[str, object] | None = None) -> list[Row]:
        return self.db.execute(sql, parameters or {}).fetchall()


def make(path: Path) -> None:
    """Make the file and its tables if they are not there yet; safe in several processes at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)  # it holds the key
    with closing(_connected(path)) as db:
        _switch_to_wal(db)
    with opened(path) as db:
        for table in TABLES:
            db.execute(table.format(serial="INTEGER PRIMARY KEY AUTOINCREMENT"))


@contextmanager
def opened(path: Path) -> Generator[_Opened]:
    """A transaction before there is a loop."""
    with closing(_connected(path)) as db:
        db.execute("BEGIN IMMEDIATE")
        yield _Opened(db)
        db.execute("COMMIT")


@asynccontextmanager
async def turn(path: Path, *, writing: bool) -> AsyncGenerator[_Transaction, None]:
    """A transaction: all as it is at one moment, or all or nothing, with one writer at a time."""
    db, turns = await _connection(path)()
    async with turns:
        try:
            await db.execute("BEGIN IMMEDIATE" if writing else "BEGIN")
            yield _Transaction(db)
            await db.commit()
        except BaseException:
            # aiosqlite does one thing after the other, also those whose caller has been
            # cancelled: a BEGIN that nobody waits for any more is undone here all the same.
            await db.rollback()
            raise


@functools.cache
def _connection(path: Path) -> LoopResource[tuple[aiosqlite.Connection, asyncio.Lock]]:
    """The loop resource of one file: a connection, and whose turn it is to use it."""

    @loop_resource
    async def database() -> AsyncGenerator[tuple[aiosqlite.Connection, asyncio.Lock], None]:
        connecting = asyncio.ensure_future(_connect(path))
        try:
            db = await asyncio.shield(connecting)
        except asyncio.CancelledError:
            # The server ends at once. aiosqlite's thread must not answer to a loop that is closed.
            await (await connecting).close()
            raise
        try:
            yield db, asyncio.Lock()
        finally:
            await db.close()

    return database


async def _connect(path: Path) -> aiosqlite.Connection:
    db = await aiosqlite.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    await db.execute("PRAGMA foreign_keys = ON")
    return db


def _connected(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)


def _switch_to_wal(db: sqlite3.Connection) -> None:
    """Let readers and a writer work side by side; the file remembers it.

    Another process may be doing the same, and SQLite does not wait for that on its own.
    """
    until = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(0.02)
        else:
            return
