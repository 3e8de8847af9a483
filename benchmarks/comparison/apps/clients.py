"""Async clients, each kept open for as long as its loop, or for one request, and calls of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import Any, NamedTuple, TypeVar

from benchmarks.comparison.apps import settings
from benchmarks.redis_server import KEY

T = TypeVar("T")
Opening = Callable[[], AsyncIterator[T]]
"""Opens a client, yields it once, and closes it."""
Kept = Callable[[], Awaitable[T]]
"""Returns a client that stays open."""
Call = Callable[[], Coroutine[Any, Any, str]]

HAS_AIOHTTP = find_spec("aiohttp") is not None
"""Whether it is there; a free-threaded build may lack it, and takes httpx2."""

HERE = settings.read()
URL = f"http://127.0.0.1:{HERE.upstream}/5"
"""Answers after 5 milliseconds."""

QUERY = "SELECT text FROM fact WHERE id = 1"


async def http() -> AsyncIterator[Any]:
    """Keep a client of aiohttp or httpx2."""
    if HAS_AIOHTTP:
        import aiohttp

        async with aiohttp.ClientSession() as session:
            yield session
    else:
        import httpx2

        async with httpx2.AsyncClient() as client:
            yield client


async def redis() -> AsyncIterator[Any]:
    """Keep a client of redis-py."""
    from redis.asyncio import Redis

    async with Redis(port=HERE.redis, decode_responses=True) as client:
        yield client


async def postgres() -> AsyncIterator[Any]:
    """Keep a pool of asyncpg."""
    import asyncpg

    async with asyncpg.create_pool(
        host=HERE.postgres, user="postgres", database="postgres", min_size=1, max_size=10
    ) as pool:
        yield pool


async def three_calls(client: Any) -> str:
    """Make three HTTP calls at once."""
    ask = ask_aiohttp if HAS_AIOHTTP else ask_httpx2
    (text,) = set(await asyncio.gather(*(ask(client) for _ in range(3))))
    return text


async def ask_aiohttp(session: Any) -> str:
    """Make one with aiohttp."""
    async with session.get(URL) as response:
        return str(await response.text())


async def ask_httpx2(client: Any) -> str:
    """Make one with httpx2."""
    return str((await client.get(URL)).text)


async def one_get(client: Any) -> str:
    """Make a Redis call."""
    return str(await client.get(KEY))


async def query(pool: Any) -> str:
    """Make a query."""
    return str(await pool.fetchval(QUERY))


def times(count: int, use: Callable[[Any], Awaitable[str]]) -> Callable[[Any], Awaitable[str]]:
    """Return the same call several times, one after the other."""

    async def several(client: Any) -> str:
        (text,) = {await use(client) for _ in range(count)}
        return text

    return several


class Calls(NamedTuple):
    """What views call; each call finds its client."""

    http: Call
    get: Call
    ten_gets: Call
    three_gets: Call
    query: Call


def calls(using: Callable[[Opening[Any], Callable[[Any], Awaitable[str]]], Call]) -> Calls:
    """Make the calls, with clients that `using` opens."""
    return Calls(
        using(http, three_calls),
        using(redis, one_get),
        using(redis, times(10, one_get)),
        using(redis, times(3, one_get)),
        using(postgres, query),
    )


def anew(opening: Opening[Any], use: Callable[[Any], Awaitable[str]]) -> Call:
    """Open a client for each request: for loops that do not last longer."""
    opened = asynccontextmanager(opening)

    async def call() -> str:
        async with opened() as client:
            return await use(client)

    return call


def kept_by(
    keep: Callable[[Opening[Any]], Kept[Any]],
) -> Callable[[Opening[Any], Callable[[Any], Awaitable[str]]], Call]:
    """Open clients that stay open; `keep` is `loop_resource`, or like it."""
    kept = {opening: keep(opening) for opening in (http, redis, postgres)}

    def using(opening: Opening[Any], use: Callable[[Any], Awaitable[str]]) -> Call:
        client = kept[opening]

        async def call() -> str:
            return await use(await client())

        return call

    return using


def once(at: Any) -> Callable[[Opening[Any]], Kept[Any]]:
    """Return what opens a client at its first use and keeps it in an attribute of `at`.

    Args:
        at: any object for the one loop of an ASGI server, a `threading.local` for one per thread.
    """

    def keep(opening: Opening[Any]) -> Kept[Any]:
        name = opening.__name__

        async def client() -> Any:
            if not hasattr(at, name):
                items = opening()  # held, so that it is not closed
                setattr(at, name, (items, asyncio.ensure_future(anext(items))))
            return await getattr(at, name)[1]

        return client

    return keep
