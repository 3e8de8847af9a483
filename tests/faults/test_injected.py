"""Exceptions that another thread raises in one that waits."""

from __future__ import annotations

import pytest

from tests.faults.serving import Logged, at_rest, held, outcome, serve, state
from tests.servers.process import THREADED

pytestmark = [pytest.mark.gunicorn, pytest.mark.slow]


@pytest.mark.parametrize("kind", THREADED)
def test_into_a_request(kind: str) -> None:
    """It costs the request that it hits, when that has its result, and no other one."""
    with serve(kind, threads=2) as server:
        old, logged = state(server)["pid"], Logged(server)
        for _ in range(3):
            with held(server, "/injected") as request:
                assert outcome(lambda: server.request("/inject")) == "200 injected"
                request.say("word")
                assert request.outcome() == "500"
            assert at_rest(server)["pid"] == old
        logged.assert_says(["Injected"])
