"""A loop resource that does not close when the server stops."""

from __future__ import annotations

import signal
import time

import pytest

from tests.faults.serving import serve
from tests.servers.process import THREADED

pytestmark = [pytest.mark.gunicorn, pytest.mark.slow]

STOP = 10.0
"""Seconds that the end of a loop takes at most."""

SLACK = 10.0
"""Seconds more that a busy machine may take to end the server."""


@pytest.mark.parametrize("kind", THREADED)
def test_closing_fails(kind: str) -> None:
    """The failure is logged with its traceback, everything else is closed, and the server ends."""
    with serve(kind, threads=1) as server:
        for path in ("/closing-fails", "/work?number=1"):
            assert server.request(path)[0].status == 200
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        for line in ("closes_badly failed to close", "LookupError: of the closing", "^closed "):
            server.wait_for(line)


@pytest.mark.parametrize("kind", THREADED)
def test_closing_hangs(kind: str) -> None:
    """It is canceled and named, everything else is closed, and the server ends in time."""
    with serve(kind, threads=1) as server:
        for path in ("/closing-hangs", "/work?number=1"):
            assert server.request(path)[0].status == 200
        began = time.monotonic()
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        assert time.monotonic() - began < STOP + SLACK
        for line in ("never_closes did not end in time when the manager was stopped", "^closed "):
            server.wait_for(line)
