"""Random nestings of async and sync calls in several threads."""

from __future__ import annotations

import pytest

from tests.async_to_sync.stress import main
from tests.core.conftest import needs_uvloop
from tests.core.support import in_process


@pytest.mark.stress
@pytest.mark.parametrize(
    ("loop", "mode", "seed"),
    [
        ("asyncio", "keeper", 1),
        pytest.param("uvloop", "keeper", 2, marks=needs_uvloop),
        ("asyncio", "resident", 3),
        pytest.param("uvloop", "resident", 4, marks=needs_uvloop),
    ],
)
def test_random_nestings(loop: str, mode: str, seed: int) -> None:
    """Every call has its answer, sync code its thread, and asgiref's Locals their values."""
    assert int(in_process(main, loop, mode, seed, limit=40)) > 1000
