"""The examples of `examples/queues`, on real workers and a real Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.queues.workers import Example
from tests.servers import needed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="package")
def redis_server_url() -> Iterator[str]:
    """A real Redis."""
    with needed.redis_url() as url:
        yield url


@pytest.fixture
def redis_url(redis_server_url: str) -> str:
    """That, with nothing in it."""
    from redis import Redis

    with Redis.from_url(redis_server_url) as redis:
        redis.flushall()
    return redis_server_url


@pytest.fixture
def example(request: pytest.FixtureRequest, checkout: Path) -> Example:
    """The example that the module of tests names."""
    return Example(checkout / "examples" / "queues" / f"{request.module.EXAMPLE}.py")
