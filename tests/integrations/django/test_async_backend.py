"""django-async-backend: its async ORM and its pool of connections, on a real PostgreSQL."""

from __future__ import annotations

import json
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.integrations.django.conftest import WORKERS
from tests.servers.process import assert_clean, gunicorn, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integrations.django.postgres import Postgres
    from tests.servers.process import Server

pytest.importorskip("django_async_backend", reason="needs Python 3.12 and Django 6.1")

SITE = "tests.integrations.django.async_backend_site:application"
POOL_SIZE = 3
THREADS = 4


def serve(postgres: Postgres, runner: str, **options: str) -> Server:
    return gunicorn(
        SITE,
        f"--threads={THREADS}",
        worker_class=WORKERS[runner],
        DATABASE=postgres.create_database(),
        **options,
    )


@pytest.fixture(scope="module")
def site(postgres: Postgres, runner: str) -> Iterator[Server]:
    """With a pool that is smaller than the number of threads, on one loop for the process."""
    with serve(postgres, runner, PER="process", POOL="1") as server:
        yield server


def ask(site: Server, *paths: str, requests: int = 60, status: int = 200) -> set[int]:
    """Ask for the paths in turn, as many requests at a time as there are threads; what they used.

    Returns:
        The ids of the processes with which PostgreSQL has served the queries.
    """

    def one(number: int) -> list[int]:
        response, body = site.request(paths[number % len(paths)])
        assert response.status == status, body
        found: list[int] = json.loads(body) if status == 200 else []
        return found

    with ThreadPoolExecutor(THREADS) as clients:
        return {pid for found in clients.map(one, range(requests)) for pid in found}


def test_async_views_share_one_pool(site: Server) -> None:
    """200 requests over 4 threads are answered with the connections of one pool."""
    assert 1 <= len(ask(site, "/view", requests=200)) <= POOL_SIZE
    ((size, _),) = site.get("/pools")
    assert size <= POOL_SIZE


def test_streams_sync_views_and_background_tasks_give_theirs_back(site: Server) -> None:
    """No way to run async code in a request takes a connection out of the pool for ever."""
    assert 1 <= len(ask(site, "/stream", "/sync", "/background")) <= POOL_SIZE
    ((size, _),) = site.get("/pools")
    assert size <= POOL_SIZE


def test_a_view_that_fails_gives_its_connection_back(site: Server) -> None:
    """Errors do not use the pool up."""
    ask(site, "/fail", status=500)
    assert 1 <= len(ask(site, "/view")) <= POOL_SIZE


def test_async_middleware_can_query_too(postgres: Postgres, runner: str) -> None:
    """With a connection of its own, as the view runs in another task."""
    middleware = f"{SITE.partition(':')[0]}.queries"
    with serve(postgres, runner, PER="process", POOL="1", MIDDLEWARE=middleware) as site:
        assert 1 <= len(ask(site, "/view", "/stream", "/sync")) <= POOL_SIZE


def test_its_signals_do_no_harm(postgres: Postgres, runner: str) -> None:
    """The setting that the guide advises saves time; nothing breaks without it."""
    with serve(postgres, runner, PER="process", POOL="1", SIGNALS="yes") as site:
        assert 1 <= len(ask(site, "/view")) <= POOL_SIZE


def test_without_a_pool_each_thread_may_have_its_loop(postgres: Postgres, runner: str) -> None:
    """A connection for each request is closed with it, and the server ends without complaint."""
    with serve(postgres, runner, PER="thread") as site:
        assert len(ask(site, "/view", "/stream", "/sync", "/background")) > 60
        site.signal(signal.SIGTERM)
        assert site.wait() == 0
        assert_clean(site)


def test_a_server_with_a_pool_ends_without_complaint(postgres: Postgres, runner: str) -> None:
    """The pool's own tasks end with the loop."""
    with serve(postgres, runner, PER="process", POOL=str(POOL_SIZE)) as site:
        site.get("/view")
        # A worker of the pool that is connecting takes no notice of being canceled.
        at_rest = [[POOL_SIZE, POOL_SIZE]]
        wait_until(lambda: bool(site.get("/pools") == at_rest), what="the pool has connected")
        site.signal(signal.SIGTERM)
        assert site.wait() == 0
        assert_clean(site)
