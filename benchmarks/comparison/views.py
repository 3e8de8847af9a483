"""What is compared: the views that all have in common."""

from __future__ import annotations

from dataclasses import dataclass

MIDDLE = (8,)
"""Connections: as many as there are threads."""

SMALL = (4,)
"""Connections that leave threads for the CPU-bound requests."""

NEIGHBORS = 2
"""CPU-bound requests that are under way all the time, where there are any."""


@dataclass(frozen=True)
class View:
    """One view; holds nothing.

    Args:
        key: its name in the results, and its path in each app.
        title: what it does.
        connections: how many the client keeps open; measured with each of these numbers.
        service: what it needs besides the HTTP server: "redis" or "postgres".
        needs: modules that must be installed.
        beside: whether CPU-bound requests are under way meanwhile.
    """

    key: str
    title: str
    connections: tuple[int, ...] = MIDDLE
    service: str | None = None
    needs: tuple[str, ...] = ()
    beside: bool = False


VIEWS = (
    View("noop", "a view that does nothing"),
    View("http", "three HTTP calls of 5 ms at once", (1, 4, 16, 64), needs=("aiohttp",)),
    View("redis", "ten Redis calls, one after the other", service="redis", needs=("redis",)),
    View("postgres", "a PostgreSQL query with asyncpg", service="postgres", needs=("asyncpg",)),
    View("psycopg", "a PostgreSQL query with sync psycopg", service="postgres", needs=("psycopg",)),
    View("template", "a template that takes about 2 ms of CPU"),
    View("stream", "a stream of 100 events, 1 ms apart"),
    View(
        "beside",
        "three Redis calls while two other requests compute",
        SMALL,
        service="redis",
        needs=("redis",),
        beside=True,
    ),
)

BY_KEY = {each.key: each for each in VIEWS}

FREE_THREADED = ("noop", "template", "http")
"""Those that are measured on a free-threaded interpreter too."""
