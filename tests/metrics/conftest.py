"""Metrics for each test, and none behind."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from tests.core.support import ended
from wsgi_async.metrics import start_metrics

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsgi_async.metrics import Metrics


@pytest.fixture
def metrics() -> Iterator[Metrics]:
    """What `start_metrics()` returns, with a registry of its own."""
    prometheus_client = pytest.importorskip("prometheus_client")
    started = start_metrics(prometheus_client.CollectorRegistry())
    yield started
    started.stop()
    for thread in threading.enumerate():
        if thread.name == "wsgi_async sampler":
            ended(thread)
