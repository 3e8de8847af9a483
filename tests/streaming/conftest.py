"""The core's fixtures: a manager on either loop and runner, and a look at what is left behind."""

from __future__ import annotations

from tests.core.conftest import (
    _collected,
    _nothing_stays_behind,
    busy_switching,
    loop_factory,
    make_manager,
    pytest_generate_tests,
    runner,
)

__all__ = [
    "_collected",
    "_nothing_stays_behind",
    "busy_switching",
    "loop_factory",
    "make_manager",
    "pytest_generate_tests",
    "runner",
]
