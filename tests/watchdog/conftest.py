"""A watchdog for each test, and nothing of it behind."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from tests.core.support import ended
from tests.watchdog.parts import BLOCKED_AFTER, Reports
from wsgi_async.watchdog import start_watchdog

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _its_thread_ends() -> Iterator[None]:
    yield
    for thread in threading.enumerate():
        if thread.name == "wsgi_async sampler":
            ended(thread)


@pytest.fixture
def reports() -> Iterator[Reports]:
    """What a watchdog reports that runs during the test."""
    found = Reports()
    watchdog = start_watchdog(BLOCKED_AFTER, on_report=found)
    yield found
    watchdog.stop()
