"""The SQLite database: its tables, made before the service starts, and how to connect to it.

`set_up` runs where no event loop is, so it uses the `sqlite3` module; whatever a request or a task
does goes through `aiosqlite`. Each loop keeps one connection open, a loop resource; its coroutines
take turns, so that no two of them meet in one transaction.
"""

import asyncio
import functools
import secrets
import sqlite3
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import aiosqlite

from example_app.demo import DEMO_PATHS
from example_app.settings import Settings, SettingsError
from wsgi_async import LoopResource, loop_resource

# How long a writer waits for another one (seconds): all worker processes share the file.
BUSY_SECONDS = 5.0

_TABLES = """
CREATE TABLE IF NOT EXISTS urls (
    id INTEGER PRIMARY KEY AUTOINCREMENT,  -- never given twice: a late result finds no other row
    url TEXT NOT NULL UNIQUE,
    demo TEXT UNIQUE                       -- the path, if it is one of the service's own endpoints
);
CREATE TABLE IF NOT EXISTS checks (
    id INTEGER PRIMARY KEY,
    url_id INTEGER NOT NULL REFERENCES urls (id) ON DELETE CASCADE,
    at REAL NOT NULL,
    status INTEGER,
    error TEXT,
    latency_ms REAL,
    reused INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS checks_by_url ON checks (url_id, id);
CREATE TABLE IF NOT EXISTS lease (
    name TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    expires REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


def set_up(settings: Settings) -> str:
    """Make the database if it is not there yet; safe in several processes at once.

    Returns:
        The key that signs the session cookies: made once and kept with the data, since all worker
        processes need the same one.

    Raises:
        SettingsError: the database cannot be used.
    """
    path = settings.database
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)  # it holds the key
        with closing(_open(path)) as db:
            _switch_to_wal(db)
            db.executescript(f"BEGIN IMMEDIATE; {_TABLES} COMMIT;")
            fresh = secrets.token_urlsafe(32)
            db.execute("INSERT OR IGNORE INTO facts VALUES ('secret key', ?)", (fresh,))
            (key,) = db.execute("SELECT value FROM facts WHERE name = 'secret key'").fetchone()
    except (OSError, sqlite3.Error) as error:
        raise SettingsError(
            f"The database {path} cannot be used ({error});"
            " set STATUS_BOARD_DB to the path of a file that can be written"
        ) from error
    if settings.port:  # with port 0 the server chooses one, and tells later
        seed(path, settings.base_url)
    return str(key)


def seed(path: Path, base_url: str) -> None:
    """Put the service's own endpoints on a new board, and on an old one follow their address.

    Those that a user has removed stay away.

    Args:
        path: the database file.
        base_url: where the service reaches itself, without a trailing slash.
    """
    with closing(_open(path)) as db:
        db.execute("BEGIN IMMEDIATE")
        new = db.execute("INSERT OR IGNORE INTO facts VALUES ('seeded', 'yes')").rowcount
        # OR IGNORE: a user may have added the very same address.
        write = (
            "INSERT OR IGNORE INTO urls (url, demo) VALUES (:url, :demo)"
            if new
            else "UPDATE OR IGNORE urls SET url = :url WHERE demo = :demo"
        )
        db.executemany(write, [{"url": base_url + demo, "demo": demo} for demo in DEMO_PATHS])
        db.execute("COMMIT")


@asynccontextmanager
async def reading(path: Path) -> AsyncGenerator[aiosqlite.Connection, None]:
    """Read from the database, all of it as it is at one moment."""
    async with _turn(path, "BEGIN") as db:
        yield db


@asynccontextmanager
async def transaction(path: Path) -> AsyncGenerator[aiosqlite.Connection, None]:
    """Write to the database, all or nothing; one writer at a time."""
    async with _turn(path, "BEGIN IMMEDIATE") as db:
        yield db


@asynccontextmanager
async def _turn(path: Path, begin: str) -> AsyncGenerator[aiosqlite.Connection, None]:
    db, turn = await _connection(path)()
    async with turn:
        try:
            await db.execute(begin)
            yield db
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


def _open(path: Path) -> sqlite3.Connection:
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
