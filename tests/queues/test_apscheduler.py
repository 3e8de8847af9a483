"""APScheduler: one loop for the threads that run a scheduler's jobs."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.queues.workers import lines

if TYPE_CHECKING:
    from tests.queues.workers import Example

pytest.importorskip("apscheduler", reason="apscheduler is not installed")
pytestmark = pytest.mark.slow

EXAMPLE = "apscheduler_jobs"


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_all_jobs_share_one_loop(example: Example, end: signal.Signals) -> None:
    """Jobs on any thread have one client, which is closed after the last of them."""
    with example.worker() as scheduler:
        scheduler.wait_for("backup sent with the client", count=2)
        scheduler.wait_for("report sent with the client", count=3)
        scheduler.signal(end)
        assert scheduler.wait() == 0
        opened, *sent, closed = lines(scheduler)
        assert (opened, closed) == ("client opened", "client closed")
        assert len(sent) >= 5
