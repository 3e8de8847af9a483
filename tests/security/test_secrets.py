"""What one request knows is never seen by another, however they interleave."""

from __future__ import annotations

import concurrent.futures
import contextlib
import gc
import http.client
import logging
from typing import TYPE_CHECKING, Any

import pytest

from tests.security.parts import KINDS, LogCheck, application, at_once, leaks, serve_many
from tests.servers.process import THREADED, gunicorn
from wsgi_async import AsyncLoopMiddleware, LoopThreadPoolExecutor

if TYPE_CHECKING:
    from collections.abc import Iterator

THREADS = 8
REQUESTS = {"keeper": 4_800, "resident": 2_900, "process": 4_800}
"""Of each thread: 100,000 together."""


@pytest.fixture
def log() -> Iterator[LogCheck]:
    """What the library logs goes to the check alone."""
    logger, handler = logging.getLogger("wsgi_async"), LogCheck()
    logger.addHandler(handler)
    logger.propagate = False
    leaks.found.clear()
    yield handler
    logger.removeHandler(handler)
    logger.propagate = True


@pytest.mark.slow
@pytest.mark.stress
@pytest.mark.timeout(300)
@pytest.mark.parametrize("runner", REQUESTS)
def test_requests_see_no_secret_but_their_own(runner: str, log: LogCheck) -> None:
    """Variables, scopes, streams, exceptions, resources and log records never mix two requests."""
    options: dict[str, Any] = {"per": "process"} if runner == "process" else {}
    app = AsyncLoopMiddleware(application, debug=False, **options)

    def work(number: int) -> None:
        serve_many(app, str(number), REQUESTS[runner])

    if runner == "resident":
        with LoopThreadPoolExecutor(THREADS, own_managers=False) as pool:
            futures = [pool.submit(work, number) for number in range(THREADS)]
            for future in concurrent.futures.as_completed(futures):
                future.result()
    else:
        at_once(THREADS, work)
    gc.collect()  # what nobody retrieved is logged when it goes
    assert leaks.found == []
    assert log.records >= REQUESTS[runner] * THREADS // len(KINDS) * 0.9


@pytest.mark.gunicorn
@pytest.mark.slow
@pytest.mark.timeout(200)
@pytest.mark.parametrize("worker", THREADED)
def test_requests_to_a_server_see_no_secret_but_their_own(worker: str) -> None:
    """The same over connections to a real server, kept and new ones."""
    each = 200
    with gunicorn("tests.security.app:app", "--threads=4", worker_class=THREADED[worker]) as server:

        def ask(connection: http.client.HTTPConnection, path: str, secret: str) -> str:
            connection.request("GET", path, headers={"X-Secret": secret})
            response = connection.getresponse()
            assert response.status == 200, path
            return response.read().decode()

        def work(client: int) -> None:
            for turn in range(each // 10):
                connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
                with contextlib.closing(connection):
                    for number in range(turn * 10, turn * 10 + 10):
                        secret = f"secret-{client}-{number}"
                        kind = KINDS[number % len(KINDS)]
                        sent = ask(connection, f"/{kind}/{secret}", secret)
                        assert sent in (secret, secret * 2), kind

        at_once(THREADS, work)
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        with contextlib.closing(connection):
            assert ask(connection, "/found", "nobody") == ""
