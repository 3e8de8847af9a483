"""What holds for all tests that step the core's threads one at a time."""

from __future__ import annotations

import faulthandler

import pytest


@pytest.fixture(autouse=True)
def _no_stacks_of_greenlets() -> None:
    """No stacks in the log before the time is over, as elsewhere.

    They would be taken from another thread while this one switches from greenlet to greenlet,
    which on a slow machine has crashed the interpreter. pytest-timeout takes them from this one.
    """
    faulthandler.cancel_dump_traceback_later()
