"""The rows of the table whose fault is in a view: sent to every kind of worker, one thread each."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from tests.faults.serving import KINDS, Logged, at_rest, outcome, serve
from tests.faults.table import GROUPS, Request
from tests.servers.process import Server

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.gunicorn, pytest.mark.slow]

CASES = [
    pytest.param(kind, request, id=f"{kind}-{row.id}-{request.path}")
    for kind in KINDS
    for group in GROUPS
    for row in group.rows
    for request in row.requests
    if kind in request.on
]


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """One worker with one thread for all of them, which ends in order after them."""
    with serve(request.param, threads=1) as server:
        yield server
        logged = Logged(server)
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        logged.assert_says([])


@pytest.mark.parametrize(("server", "fault"), CASES, indirect=["server"], scope="module")
def test_fault(server: Server, fault: Request) -> None:
    """Client, log and next request meet what the table says, on the thread that was hit."""
    if fault.needs:
        pytest.importorskip(fault.needs)
    if fault.needs == "coverage" and "COVERAGE_PROCESS_CONFIG" in os.environ:
        pytest.skip("this very run is measured by coverage, which cannot be begun twice")
    before, logged = at_rest(server), Logged(server)
    assert outcome(lambda: server.request(fault.path)) == fault.sees
    after = at_rest(server)
    logged.assert_says(fault.logs)
    assert (after["pid"] != before["pid"]) == (fault.worker == "new")
    assert after["managers"] == 1
