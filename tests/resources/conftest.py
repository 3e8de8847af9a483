"""The core's fixtures, and a diary."""

from __future__ import annotations

import pytest

from tests.core.conftest import (
    _collected,
    _nothing_stays_behind,
    busy_switching,
    loop_factory,
    make_manager,
    pytest_generate_tests,
    runner,
    worker,
)
from tests.resources.parts import Diary

__all__ = [
    "_collected",
    "_nothing_stays_behind",
    "busy_switching",
    "loop_factory",
    "make_manager",
    "pytest_generate_tests",
    "runner",
    "worker",
]


@pytest.fixture
def diary() -> Diary:
    """What was opened and closed, in order."""
    return Diary()
