"""Worker threads for mounted apps: a plain one, and one that its loop lives on."""

from __future__ import annotations

from concurrent.futures import Executor, ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from wsgi_async import LoopThreadPoolExecutor

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(params=["keeper", "resident"])
def worker(request: pytest.FixtureRequest) -> Iterator[Executor]:
    """A worker thread, which ends, and its loop with it, at the end of the test."""
    resident = request.param == "resident"
    with _resident() if resident else ThreadPoolExecutor(1) as pool:
        yield pool


def _resident() -> Executor:
    return LoopThreadPoolExecutor(1, own_managers=False)
