"""A thread that answers requests, as a server's do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.core.support import Worker

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(params=["keeper", "resident"])
def runner(request: pytest.FixtureRequest) -> str:
    """What runs the worker's loop: a thread of the manager's own, or the worker itself."""
    name: str = request.param
    return name


@pytest.fixture
def worker(runner: str) -> Iterator[Worker]:
    """A thread that answers requests, as a server's do."""
    with Worker(resident=runner == "resident") as one:
        yield one
