"""An aiosqlite connection that is kept over calls."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aiosqlite

from tests.core.support import BEGIN, LIMIT, Worker, on_worker, outcome

if TYPE_CHECKING:
    from pathlib import Path

    from tests.core.conftest import MakeManager
    from wsgi_async import AsyncioLoopManager


async def opened(path: Path | str = ":memory:") -> aiosqlite.Connection:
    """A connection with an empty table."""
    connection = await aiosqlite.connect(path)
    await connection.execute("CREATE TABLE note (name TEXT)")
    return connection


async def insert(connection: aiosqlite.Connection, name: str) -> None:
    """Write a row."""
    await connection.execute("INSERT INTO note VALUES (?)", (name,))
    await connection.commit()


async def names(connection: aiosqlite.Connection) -> list[str]:
    """Read all rows, one at a time."""
    async with connection.execute("SELECT name FROM note") as cursor:
        return sorted([row[0] async for row in cursor])


@on_worker
def test_calls_and_background_work_share_a_connection(make_manager: MakeManager) -> None:
    """One connection serves call after call, and background statements in between."""
    manager = make_manager()
    connection = manager.run(opened())
    expected = []
    for number in range(10):
        future = manager.submit_task(insert(connection, f"future {number}"))
        manager.run(insert(connection, f"run {number}"))
        manager.submit_task(insert(connection, f"driven {number}"), True).result(LIMIT)
        future.result(LIMIT)
        expected += [f"{way} {number}" for way in ("future", "run", "driven")]
        assert manager.run(names(connection)) == sorted(expected)
    manager.run(connection.close())


@on_worker
def test_a_transaction_over_two_calls(make_manager: MakeManager, tmp_path: Path) -> None:
    """What one call has begun, a later one takes back, and what came before it stays."""
    manager = make_manager()
    connection = manager.run(opened(tmp_path / "notes.db"))
    manager.run(insert(connection, "kept"))

    async def begin() -> None:
        await connection.execute("INSERT INTO note VALUES ('taken back')")

    manager.submit_task(begin()).result(LIMIT)
    assert manager.run(names(connection)) == ["kept", "taken back"]
    manager.run(connection.rollback())
    assert manager.run(names(connection)) == ["kept"]
    manager.run(connection.close())


def test_several_threads_share_a_connection(make_manager: MakeManager, runner: str) -> None:
    """Threads that share a manager share its connection; none of their rows is lost."""

    def use(manager: AsyncioLoopManager, connection: aiosqlite.Connection, who: str) -> None:
        futures = []
        for number in range(10):
            futures.append(manager.submit_task(insert(connection, f"{who} future {number}")))
            manager.run(insert(connection, f"{who} run {number}"))
        for future in futures:
            future.result(LIMIT)

    with Worker("own", resident=runner == "resident") as own, Worker("other") as other:
        manager = own.call(make_manager)
        connection = own.call(lambda: manager.run(opened()))
        named = {"own": own, "other": other}
        uses = [one.begin(use, manager, connection, name) for name, one in named.items()]
        for one in uses:
            outcome(one)
        expected = [
            f"{who} {way} {number}"
            for who in ("own", "other")
            for way in ("future", "run")
            for number in range(10)
        ]
        assert other.call(lambda: manager.run(names(connection))) == sorted(expected)
        own.call(lambda: manager.run(connection.close()))


@on_worker
def test_a_call_out_of_time_leaves_the_connection_in_order(make_manager: MakeManager) -> None:
    """After a timeout in the middle of its statements, the next call finds the connection open."""
    manager = make_manager()
    connection = manager.run(opened())

    async def endless() -> None:
        while True:
            await insert(connection, "again")
            await asyncio.sleep(0)

    try:
        manager.run(endless(), timeout=BEGIN)
    except TimeoutError:
        pass
    else:
        raise AssertionError("it had no end")
    assert set(manager.run(names(connection))) == {"again"}
    manager.run(connection.close())
