"""Threads that do at random whatever can be done; `test_orders.py` has the certain ones."""

from __future__ import annotations

import pytest
from tests.driver.parts import child

from tests.core.conftest import needs_uvloop

MAIN = "from tests.driver.stress import main; main()"


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1])
@pytest.mark.parametrize("drive", ["auto", "keeper", "caller"])
@pytest.mark.parametrize("loop", ["asyncio", pytest.param("uvloop", marks=needs_uvloop)])
def test_whatever_threads_do_at_once_each_gets_its_outcome(
    loop: str, drive: str, seed: int
) -> None:
    """2,000 calls, submissions, cancellations and stops end as they must, one driver at a time."""
    assert child(MAIN, loop, drive, str(seed)) == "2000\n"
