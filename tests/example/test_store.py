from __future__ import annotations

import asyncio
import sqlite3
import stat
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from example_app.database import seed, set_up, transaction
from example_app.models import CheckResult
from example_app.settings import Settings, SettingsError
from example_app.store import DuplicateError, FullError, Store, record
from wsgi_async import AsyncioLoopManager

DEMO = "http://127.0.0.1:8000"


def rows(settings: Settings, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(settings.database)) as db:
        return db.execute(sql).fetchall()


def results(url_id: int, count: int) -> list[CheckResult]:
    return [CheckResult(url_id, float(i), 200, None, 1.0, reused=False) for i in range(count)]


async def write(store: Store, checks: list[CheckResult], keep: int) -> None:
    async with transaction(store.database) as db:
        await record(db, checks, keep=keep)


def test_addresses_are_kept_in_order(manager: AsyncioLoopManager, store: Store) -> None:
    """What was added is there, until it is removed."""
    first = manager.run(store.add("http://a/", limit=5))
    second = manager.run(store.add("http://b/", limit=5))
    assert manager.run(store.watched()) == [first, second]
    assert manager.run(store.remove(first.id)) == "http://a/"
    assert manager.run(store.remove(first.id)) is None
    assert manager.run(store.watched()) == [second]


def test_duplicates_and_too_many_are_refused(manager: AsyncioLoopManager, store: Store) -> None:
    """An address is there once, and the board does not grow without end."""
    manager.run(store.add("http://a/", limit=2))
    with pytest.raises(DuplicateError):
        manager.run(store.add("http://a/", limit=2))
    manager.run(store.add("http://b/", limit=2))
    with pytest.raises(FullError):
        manager.run(store.add("http://c/", limit=2))
    assert len(manager.run(store.watched())) == 2


def test_many_who_add_at_once_keep_the_limit(manager: AsyncioLoopManager, store: Store) -> None:
    """The limit holds also when everybody looks before anybody has written."""

    async def add_all() -> list[object]:
        adding = [store.add(f"http://{i}/", limit=3) for i in range(8)]
        return list(await asyncio.gather(*adding, return_exceptions=True))

    outcomes = manager.run(add_all())
    assert sum(isinstance(one, FullError) for one in outcomes) == 5
    assert len(manager.run(store.watched())) == 3


def test_history_is_bounded(manager: AsyncioLoopManager, store: Store, settings: Settings) -> None:
    """Each address keeps its last checks, and only those."""
    one = manager.run(store.add("http://a/", limit=5))
    other = manager.run(store.add("http://b/", limit=5))
    manager.run(write(store, results(one.id, 7) + results(other.id, 2), keep=3))
    kept = rows(settings, "SELECT url_id, at FROM checks ORDER BY id")
    assert kept == [(one.id, 4.0), (one.id, 5.0), (one.id, 6.0), (other.id, 0.0), (other.id, 1.0)]
    history = manager.run(store.snapshot(checks=2)).history
    assert [check.at for check in history[one.id]] == [5.0, 6.0]


def test_the_history_goes_with_its_address(
    manager: AsyncioLoopManager, store: Store, settings: Settings
) -> None:
    """Removing leaves nothing behind, and a result that comes late finds no other address."""
    one = manager.run(store.add("http://a/", limit=5))
    manager.run(write(store, results(one.id, 3), keep=9))
    manager.run(store.remove(one.id))
    assert rows(settings, "SELECT count(*) FROM checks") == [(0,)]
    next_one = manager.run(store.add("http://b/", limit=5))
    manager.run(write(store, results(one.id, 1), keep=9))
    assert next_one.id != one.id
    assert rows(settings, "SELECT count(*) FROM checks") == [(0,)]


def test_what_fails_half_way_writes_nothing(
    manager: AsyncioLoopManager, store: Store, settings: Settings
) -> None:
    """A transaction that is cut short, also by a cancellation, leaves the data as it was."""
    one = manager.run(store.add("http://a/", limit=5))

    async def cut_short() -> None:
        async with transaction(store.database) as db:
            await record(db, results(one.id, 1), keep=9)
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        manager.run(cut_short())
    assert rows(settings, "SELECT count(*) FROM checks") == [(0,)]
    manager.run(write(store, results(one.id, 1), keep=9))  # and holds no lock


def test_a_cancelled_writer_holds_no_lock(manager: AsyncioLoopManager, store: Store) -> None:
    """One that gives up while it waits for another leaves nothing behind on its connection."""

    async def give_up(other: sqlite3.Connection) -> object:
        await store.version()  # opens the connection, so that the writer waits for the lock only
        writer = asyncio.ensure_future(store.add("http://a/", limit=5))
        await asyncio.sleep(0)
        writer.cancel()
        other.rollback()
        return (await asyncio.gather(writer, return_exceptions=True))[0]

    # The coroutine ends the other one's transaction, wherever it runs.
    another = sqlite3.connect(
        store.database, timeout=0, isolation_level=None, check_same_thread=False
    )
    with closing(another) as other:
        other.execute("BEGIN IMMEDIATE")
        assert isinstance(manager.run(give_up(other)), asyncio.CancelledError)
        other.execute("BEGIN IMMEDIATE")
        other.rollback()
    assert manager.run(store.watched()) == []


def test_a_loop_keeps_its_connection_and_closes_it(
    manager: AsyncioLoopManager, store: Store
) -> None:
    """The file stays open between two requests, and is closed with its manager."""
    log = Path(f"{store.database}-wal")  # SQLite's, while the file is open
    manager.run(store.add("http://a/", limit=5))
    assert log.exists()
    manager.stop()
    assert not log.exists()


def test_processes_that_set_up_at_once_agree(settings: Settings) -> None:
    """Workers that start at the same moment make one database with one key."""
    with ThreadPoolExecutor(8) as starters:
        keys = set(starters.map(set_up, [settings] * 8))
    assert len(keys) == 1
    assert rows(settings, "PRAGMA journal_mode") == [("wal",)]


def test_only_the_owner_reads_the_key(store: Store) -> None:
    """The file that holds the key of the session cookies is not for everybody's eyes."""
    assert stat.S_IMODE(Path(store.database).stat().st_mode) == 0o600


def test_a_new_board_watches_the_demo_endpoints(settings: Settings) -> None:
    """There is something to see at once, and what a user has removed does not come back."""
    set_up(replace(settings, port=8000))
    assert rows(settings, "SELECT url FROM urls ORDER BY id") == [
        (f"{DEMO}/demo/fast",),
        (f"{DEMO}/demo/slow",),
        (f"{DEMO}/demo/failing",),
    ]
    with closing(sqlite3.connect(settings.database)) as db:
        db.execute("DELETE FROM urls WHERE demo = '/demo/slow'")
        db.commit()
    seed(settings.database, "http://127.0.0.1:9000")
    assert rows(settings, "SELECT url FROM urls ORDER BY id") == [
        ("http://127.0.0.1:9000/demo/fast",),
        ("http://127.0.0.1:9000/demo/failing",),
    ]


def test_a_database_that_cannot_be_used_is_named(settings: Settings, tmp_path: Path) -> None:
    """The error names the file and the variable, whether it is a folder or something else."""
    nonsense = tmp_path / "nonsense"
    nonsense.write_text("This is no database, and it is longer than a header would be." * 20)
    for path in (tmp_path, nonsense):
        with pytest.raises(SettingsError, match=r"cannot be used .*STATUS_BOARD_DB") as error:
            set_up(replace(settings, database=path))
        assert str(path) in str(error.value)
