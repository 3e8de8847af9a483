"""The same calls with sync clients: under gevent, patched, they wait without a thread."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

from benchmarks.comparison.apps.clients import HERE, QUERY, URL
from benchmarks.redis_server import KEY

THREADS = 24
"""Threads of the pool, which has the calls of one process: three for each of the server's."""


class _Here(threading.local):
    """What one thread keeps open."""

    session: Any = None
    connection: Any = None


_here = _Here()


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS)


def ask(_: int) -> str:
    """Make one HTTP call."""
    if _here.session is None:
        import requests

        _here.session = requests.Session()
    return str(_here.session.get(URL).text)


def three_calls() -> str:
    """Make three at once, in the pool."""
    (text,) = set(_pool().map(ask, range(3)))
    return text


@cache
def _redis() -> Any:
    from redis import Redis

    return Redis(port=HERE.redis, decode_responses=True)


def gets(count: int) -> str:
    """Make Redis calls, one after the other."""
    (text,) = {_redis().get(KEY) for _ in range(count)}
    return str(text)


def query() -> str:
    """Make a query with psycopg."""
    if _here.connection is None:
        import psycopg

        _here.connection = psycopg.connect(
            host=HERE.postgres, user="postgres", dbname="postgres", autocommit=True
        )
    return str(_here.connection.execute(QUERY).fetchone()[0])
