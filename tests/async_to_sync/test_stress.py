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
        ("asyncio", "drives", 1),
        pytest.param("uvloop", "drives", 2, marks=needs_uvloop),
        ("asyncio", "caller", 3),
        pytest.param("uvloop", "keeper", 4, marks=needs_uvloop),
    ],
)
def test_random_nestings(loop: str, mode: str, seed: int) -> None:
    """Every call has its answer, sync code its thread, and no take-over loses or doubles any."""
    calls, take_overs = map(int, in_process(main, loop, mode, seed, limit=40).split())
    assert calls > 1000
    assert (take_overs > 10) == (mode != "keeper")
