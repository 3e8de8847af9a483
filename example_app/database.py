"""The SQLite database: its tables, made before the service starts, and how to connect to it.

`set_up` runs where no event loop is, so it uses the `sqlite3` module; whatever a request or a task
does goes through `aiosqlite`. A connection lives for one operation: SQLite opens a file in well
under a millisecond, and two coroutines can never meet in one transaction.
"""

import asyncio
import secrets
import sqlite3
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import aiosqlite

from example_app.demo import DEMO_PATHS
from example_app.settings import Settings, SettingsError

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
async def connect(path: Path) -> AsyncGenerator[aiosqlite.Connection, None]:
    """Open the database for one operation, on the running loop."""
    # In a task of its own: of an opening that is cancelled, aiosqlite drops the connection.
    opening = asyncio.ensure_future(_connected(path))
    try:
        db = await asyncio.shield(opening)
        await db.execute("PRAGMA foreign_keys = ON")
        yield db
    finally:
        await (await opening).close()


async def _connected(path: Path) -> aiosqlite.Connection:
    return await aiosqlite.connect(path, timeout=BUSY_SECONDS, isolation_level=None)


@asynccontextmanager
async def transaction(path: Path) -> AsyncGenerator[aiosqlite.Connection, None]:
    """Open the database and write to it, all or nothing; one writer at a time."""
    async with connect(path) as db:
        await db.execute("BEGIN IMMEDIATE")
        try:
            yield db
        except BaseException:
            await db.rollback()
            raise
        await db.commit()


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
