"""KeyboardInterrupt in the hand-over: in a finally, between two steps, anywhere."""

from __future__ import annotations

import pytest

from tests.core.conftest import needs_uvloop
from tests.driver.parts import child

MAIN = "from tests.driver.interrupted import main; main()"


@pytest.mark.slow
@pytest.mark.parametrize("way", ["run", "timeout", "result"])
@pytest.mark.parametrize("loop", ["ours", pytest.param("uvloop", marks=needs_uvloop)])
def test_an_interrupt_at_any_line_leaves_the_manager_in_order(loop: str, way: str) -> None:
    """Ctrl-C while the main thread waits, wherever it strikes, loses no task and not the loop."""
    assert int(child(MAIN, loop, way)) > 30
