"""Threads that do at random whatever can be done; `tests/races` has the orders one by one."""

from __future__ import annotations

import pytest

from tests.core.conftest import needs_uvloop
from tests.core.support import in_process
from tests.runners.stress import child


@pytest.mark.slow
@pytest.mark.timeout(80)
@pytest.mark.stress
@pytest.mark.parametrize("seed", [1])
@pytest.mark.parametrize("loop", ["asyncio", pytest.param("uvloop", marks=needs_uvloop)])
def test_whatever_threads_do_at_once_each_gets_its_outcome(
    loop: str, runner: str, seed: int
) -> None:
    """2,000 calls, submissions, cancellations and stops end as they must, on one thread a loop."""
    assert in_process(child, loop, runner, seed, limit=60) == "2000\n"
