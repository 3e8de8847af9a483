"""The board's data in PostgreSQL."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from example_app.database import DatabaseError, seed, set_up, transaction
from example_app.lease import Lease
from example_app.models import CheckResult
from example_app.settings import Settings, SettingsError
from example_app.store import DuplicateError, FullError, Store, record
from tests.integrations.django.postgres import MISSING, Postgres, programs
from tests.servers.needed import POSTGRES, do_without

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsgi_async import AsyncioLoopManager

pytest.importorskip("psycopg_pool", reason="psycopg-pool is not installed")


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    folder = programs()
    if folder is None:
        do_without(MISSING, POSTGRES)
    with Postgres(folder) as running:
        yield running


@pytest.fixture
def settings(server: Postgres) -> Settings:
    """Settings for a board in a new database."""
    _, folder, name = server.create_database().split(":")
    return Settings(port=0, database=f"postgresql://postgres@/{name}?host={quote(folder, safe='')}")


def test_processes_that_set_up_at_once_agree(settings: Settings) -> None:
    """Hosts that start at the same moment make one set of tables with one key."""
    with ThreadPoolExecutor(8) as starters:
        assert len(set(starters.map(set_up, [settings] * 8))) == 1


def test_addresses_are_kept_in_order(manager: AsyncioLoopManager, store: Store) -> None:
    """What was added is there, until it is removed; an address is there once."""
    first = manager.run(store.add("http://a/", limit=2))
    with pytest.raises(DuplicateError):
        manager.run(store.add("http://a/", limit=2))
    second = manager.run(store.add("http://b/", limit=2))
    with pytest.raises(FullError):
        manager.run(store.add("http://c/", limit=2))
    assert manager.run(store.watched()) == [first, second]
    assert manager.run(store.remove(first.id)) == "http://a/"
    assert manager.run(store.remove(first.id)) is None
    assert manager.run(store.watched()) == [second]


def test_many_who_add_at_once_keep_the_limit(store: Store) -> None:
    """The limit holds also when hosts look before anybody has written."""

    def add(number: int) -> bool:
        try:
            asyncio.run(store.add(f"http://{number}/", limit=3))
        except FullError:
            return False
        return True

    with ThreadPoolExecutor(8) as hosts:
        assert list(hosts.map(add, range(8))).count(True) == 3


def test_history_and_version(manager: AsyncioLoopManager, store: Store) -> None:
    """Each address keeps its last checks, and a page learns that there is a new one."""
    one = manager.run(store.add("http://a/", limit=5))

    async def write(status: int | None, latency: float | None) -> None:
        async with transaction(store.database) as db:
            error = None if status else "no connection"
            result = CheckResult(one.id, 1.5, status, error, latency, reused=True)
            await record(db, [result], keep=2)

    before = manager.run(store.version())
    for status, latency in ((200, 0.5), (None, None), (503, 2.5)):
        manager.run(write(status, latency))
    snapshot = manager.run(store.snapshot(checks=5))
    assert [(check.status, check.latency_ms) for check in snapshot.history[one.id]] == [
        (None, None),
        (503, 2.5),
    ]
    assert snapshot.history[one.id][0] == CheckResult(
        one.id, 1.5, None, "no connection", None, reused=True
    )
    assert snapshot.version == manager.run(store.version()) != before
    assert manager.run(store.remove(one.id)) == "http://a/"
    manager.run(write(200, 1.0))  # the address has gone meanwhile
    assert manager.run(store.snapshot(checks=5)).history == {}


def test_one_host_has_the_lease(manager: AsyncioLoopManager, store: Store) -> None:
    """One of two hosts checks, until it gives the right back."""
    one, two = (Lease(database=store.database, ttl=60, owner=name) for name in ("one", "two"))
    assert manager.run(one.take())
    assert not manager.run(two.take())
    assert manager.run(one.take())
    assert manager.run(store.snapshot(checks=1)).checker == "one"
    manager.run(one.release())
    assert manager.run(two.take())


def test_a_new_board_watches_the_demo_endpoints(
    manager: AsyncioLoopManager, settings: Settings
) -> None:
    """The address is that of the proxy, where there is one, and what was removed stays away."""
    set_up(replace(settings, port=8000, url="http://board.test"))
    store = Store(settings.database)
    fast, slow, _failing = manager.run(store.watched())
    assert fast.url == "http://board.test/demo/fast"
    manager.run(store.remove(slow.id))
    seed(settings.database, "http://new.test")
    assert [one.url for one in manager.run(store.watched())] == [
        "http://new.test/demo/fast",
        "http://new.test/demo/failing",
    ]


def test_a_failed_statement_undoes_its_transaction(
    manager: AsyncioLoopManager, store: Store
) -> None:
    """The board says that its database is busy, and the next request works."""

    async def fail() -> None:
        async with transaction(store.database) as db:
            await db.execute("INSERT INTO urls (url) VALUES ('http://a/')")
            await db.execute("SELECT nonsense")

    with pytest.raises(DatabaseError, match="nonsense"):
        manager.run(fail())
    assert manager.run(store.watched()) == []


def test_a_connection_that_was_cut_is_replaced(
    manager: AsyncioLoopManager, settings: Settings, store: Store
) -> None:
    """After PostgreSQL has closed the connections, the next request opens another."""

    async def cut() -> None:
        async with transaction(settings.database) as db:
            await db.rows(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE pid <> pg_backend_pid() AND datname = current_database()"
            )

    assert manager.run(store.watched()) == []
    asyncio.run(cut())
    assert manager.run(store.watched()) == []


def test_a_server_that_is_not_there_is_named() -> None:
    """The error names the server and the variable, and keeps the password to itself."""
    database = "postgresql://me:secret@127.0.0.1:1/board"
    with pytest.raises(SettingsError, match=r"cannot be used .*STATUS_BOARD_DB") as error:
        set_up(Settings(database=database))
    assert "postgresql://127.0.0.1:1/board" in str(error.value)
    assert "secret" not in str(error.value)
