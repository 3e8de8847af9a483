"""Servers that tests need: started, or a skip, or a failure where the environment demands them."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

import pytest

from benchmarks.redis_server import missing, redis_server

if TYPE_CHECKING:
    from collections.abc import Iterator

REDIS, POSTGRES = "WSGI_ASYNC_REDIS", "WSGI_ASYNC_POSTGRES"
"""Environment variables: set where a test may not be skipped for want of the server."""


def do_without(reason: str, variable: str) -> NoReturn:
    """Skip the test, or fail it where the variable is set."""
    if os.environ.get(variable):
        pytest.fail(reason)
    pytest.skip(reason)


@contextmanager
def redis_url() -> Iterator[str]:
    """A real Redis; its URL."""
    if reason := missing():
        do_without(reason, REDIS)
    with redis_server() as port:
        yield f"redis://127.0.0.1:{port}/0"
