"""The tables, and what a transaction on them can do."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

# {serial} is the one thing that the two databases do not write in the same way.
TABLES = (
    """CREATE TABLE IF NOT EXISTS urls (
        id {serial},             -- never given twice: a late result finds no other row
        url TEXT NOT NULL UNIQUE,
        demo TEXT UNIQUE         -- the path, if it is one of the service's own endpoints
    )""",
    """CREATE TABLE IF NOT EXISTS checks (
        id {serial},
        url_id INTEGER NOT NULL REFERENCES urls (id) ON DELETE CASCADE,
        at DOUBLE PRECISION NOT NULL,
        status INTEGER,
        error TEXT,
        latency_ms DOUBLE PRECISION,
        reused INTEGER NOT NULL
    )""",
    "CREATE INDEX IF NOT EXISTS checks_by_url ON checks (url_id, id)",
    """CREATE TABLE IF NOT EXISTS lease (
        name TEXT PRIMARY KEY,
        owner TEXT NOT NULL,
        expires DOUBLE PRECISION NOT NULL
    )""",
    "CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
)

Row = Sequence[Any]


class Transaction(Protocol):
    """One transaction of a coroutine; lives as long as its `async with` block."""

    async def execute(self, sql: str, parameters: Mapping[str, object] | None = None) -> int:
        """Run a statement; how many rows it has changed."""
        ...

    async def rows(self, sql: str, parameters: Mapping[str, object] | None = None) -> list[Row]:
        """Run a statement; the rows that it gives."""
        ...


class Opened(Protocol):
    """One transaction of a thread; lives as long as its `with` block."""

    def execute(self, sql: str, parameters: Mapping[str, object] | None = None) -> int:
        """Run a statement; how many rows it has changed."""
        ...

    def rows(self, sql: str, parameters: Mapping[str, object] | None = None) -> list[Row]:
        """Run a statement; the rows that it gives."""
        ...
