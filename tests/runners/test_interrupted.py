"""An exception hits the waiting main thread: in a finally, between two steps, anywhere."""

from __future__ import annotations

import pytest

from tests.core.conftest import needs_uvloop
from tests.core.support import in_process
from tests.runners.interrupted import WAYS, child


@pytest.mark.timeout(80)
@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("loop", ["ours", pytest.param("uvloop", marks=needs_uvloop)])
def test_an_interrupt_at_any_line_leaves_the_manager_in_order(loop: str, way: str) -> None:
    """Ctrl-C while the main thread waits, wherever it strikes, loses no task and not the loop."""
    assert int(in_process(child, loop, way, limit=60)) > 30
