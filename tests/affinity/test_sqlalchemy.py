"""SQLAlchemy's asyncio layer, whose greenlets belong to one thread, over aiosqlite.

Everything here runs in a process of its own, and only there `sqlalchemy.ext.asyncio` is imported.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed")
pytest.importorskip("greenlet", reason="SQLAlchemy's asyncio layer needs greenlet")

from sqlalchemy import select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from tests.core.conftest import needs_uvloop
from tests.core.support import LIMIT, Worker, in_process, outcome, reached, where
from wsgi_async import AsyncioLoopManager

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

ROUNDS = 8
"""How often each thread calls, with statements in the background."""

on_both_loops = pytest.mark.parametrize(
    "loop", ["asyncio", pytest.param("uvloop", marks=needs_uvloop)]
)


def worker(runner: str, name: str) -> Worker:
    """A thread whose manager has a keeper, or whose manager's loop lives on it."""
    return Worker(name, resident=runner == "resident")


class Base(DeclarativeBase):
    pass


class Note(Base):
    __tablename__ = "note"

    name: Mapped[str] = mapped_column(primary_key=True)


def started(loop: str) -> AsyncioLoopManager:
    """A manager of the calling thread."""
    factory = None
    if loop == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    manager = AsyncioLoopManager(loop_factory=factory)
    manager.start()
    # asyncio's debug mode, which -X dev turns on, writes of each step that takes longer; on a busy
    # machine that is no fault.
    manager.get_event_loop().slow_callback_duration = LIMIT
    return manager


async def opened(path: Path) -> AsyncEngine:
    """An engine with its pool of connections, and an empty table."""
    from sqlalchemy.ext.asyncio import create_async_engine

    engine = create_async_engine(f"sqlite+aiosqlite:///{path}", connect_args={"timeout": LIMIT})
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    return engine


async def insert(engine: AsyncEngine, name: str) -> int:
    """Write an object in a session; the thread that did so."""
    from sqlalchemy.ext.asyncio import AsyncSession

    me = threading.get_ident()
    async with AsyncSession(engine) as session, session.begin():
        session.add(Note(name=name))
        await session.flush()
        assert await session.get(Note, name, populate_existing=True) is not None
    assert threading.get_ident() == me
    return me


async def names(engine: AsyncEngine) -> set[str]:
    """Read all objects from a stream."""
    from sqlalchemy.ext.asyncio import AsyncSession

    async with AsyncSession(engine) as session:
        return {note.name async for note in await session.stream_scalars(select(Note))}


def use(manager: AsyncioLoopManager, engine: AsyncEngine, who: str) -> set[str]:
    """Call, with statements in the background and in tasks left behind; the names written."""
    futures: list[Any] = []
    left: list[asyncio.Task[int]] = []
    written = set()

    def name(way: str) -> str:
        written.add(f"{who} {way} {number}")
        return f"{who} {way} {number}"

    async def leave_behind(name: str) -> None:
        left.append(asyncio.create_task(insert(engine, name)))
        await asyncio.sleep(0)

    async def end() -> None:
        await asyncio.gather(*left)

    for number in range(ROUNDS):
        if number % 2:
            futures.append(manager.submit_task(insert(engine, name("future"))))
        manager.run(leave_behind(name("left")))
        manager.run(insert(engine, name("run")))
        futures.append(manager.submit_task(insert(engine, name("driven")), return_sync_future=True))
        if number % 3:
            futures[-1].result(LIMIT)
        assert f"{who} run {number}" in manager.run(names(engine))
    for future in futures:
        future.result(LIMIT)
    manager.run(end())
    return written


def each_thread_its_own(runner: str, loop: str, folder: str) -> None:
    """In a child: each worker has a manager, an engine and a database."""
    together = threading.Barrier(3, timeout=LIMIT)

    def serve(who: str) -> None:
        together.wait()
        manager = started(loop)
        engine = manager.run(opened(Path(folder, f"{who}.db")))
        assert use(manager, engine, who) == manager.run(names(engine))
        manager.run(engine.dispose())
        manager.stop()

    workers = [worker(runner, f"worker-{number}") for number in range(3)]
    for serving in [one.begin(serve, one.thread.name) for one in workers]:
        outcome(serving)
    for one in workers:
        one.end()
    gc.collect()
    print("done")


def all_share_one(runner: str, loop: str, folder: str) -> None:
    """In a child: three workers share the first one's manager and engine."""
    with worker(runner, "first") as first, Worker("second") as second, Worker("third") as third:
        manager = first.call(started, loop)
        engine = first.call(lambda: manager.run(opened(Path(folder, "all.db"))))
        uses = [one.begin(use, manager, engine, one.thread.name) for one in (first, second, third)]
        written = set[str]().union(*(outcome(one) for one in uses))
        assert third.call(lambda: manager.run(names(engine))) == written
        second.call(lambda: manager.run(engine.dispose()))
        first.call(manager.stop)
    gc.collect()
    print("done")


def imported_late(runner: str, loop: str, folder: str) -> None:
    """In a child: a manager that is in use when SQLAlchemy is imported."""
    assert "sqlalchemy.ext.asyncio" not in sys.modules
    began = threading.Event()

    async def wait(event: asyncio.Event) -> str:
        began.set()
        await event.wait()
        return "ended"

    async def let_go(event: asyncio.Event) -> None:
        event.set()

    def serve() -> None:
        manager = started(loop)
        home = manager.run(where())
        assert (home is threading.current_thread()) == (runner == "resident")
        event = asyncio.Event()
        background = manager.submit_task(wait(event))
        reached(began)

        importlib.import_module("sqlalchemy.ext.asyncio")

        assert not background.done()
        engine = manager.run(opened(Path(folder, "late.db")))
        manager.run(let_go(event))
        assert background.result(LIMIT) == "ended"
        assert manager.run(where()) is home
        assert use(manager, engine, "late") == manager.run(names(engine))
        assert manager.run(insert(engine, "run")) == home.ident
        assert manager.submit_task(insert(engine, "submitted")).result(LIMIT) == home.ident
        manager.run(engine.dispose())
        manager.stop()

    with worker(runner, "late") as late:
        late.call(serve)
    gc.collect()
    print("done")


@on_both_loops
@pytest.mark.slow
def test_each_thread_has_its_own_engine(runner: str, loop: str, tmp_path: Path) -> None:
    """Engines kept over calls work in several threads at once, with background statements."""
    assert in_process(each_thread_its_own, runner, loop, str(tmp_path)) == "done\n"


@on_both_loops
@pytest.mark.slow
def test_threads_share_an_engine(runner: str, loop: str, tmp_path: Path) -> None:
    """Several threads that share a manager share its engine, with background statements."""
    assert in_process(all_share_one, runner, loop, str(tmp_path)) == "done\n"


@on_both_loops
@pytest.mark.slow
def test_managers_in_use_before_it_is_imported(runner: str, loop: str, tmp_path: Path) -> None:
    """A manager that was used before the import goes on after it, on the same thread."""
    assert in_process(imported_late, runner, loop, str(tmp_path)) == "done\n"
