"""What the core's tests share, here too: a manager on either loop, and a look at what stays."""

from __future__ import annotations

from tests.core.conftest import (
    _collected,
    _nothing_stays_behind,
    loop_factory,
    make_manager,
    pytest_generate_tests,
    runner,
    worker,
)

__all__ = [
    "_collected",
    "_nothing_stays_behind",
    "loop_factory",
    "make_manager",
    "pytest_generate_tests",
    "runner",
    "worker",
]
