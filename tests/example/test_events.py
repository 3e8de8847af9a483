from __future__ import annotations

import contextlib
import signal
import socket
import sqlite3
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from example_app import events as events_module
from example_app.database import transaction
from example_app.events import board_events, has_gone
from example_app.models import CheckResult
from example_app.store import Store, record
from tests.example.board import READY, Stream, board, open_stream, watch_only
from tests.servers.process import LIMIT, THREADED, Server, assert_clean, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from example_app.store import Snapshot
    from tests.example.local import LocalServer
    from wsgi_async import AsyncioLoopManager
    from wsgi_async.core.actors.stream import SyncIterator

CHECKED = CheckResult(1, 1_700_000_000.0, 200, None, 12.5, reused=True)
ONE_WORKER = {"WORKERS": "1", "THREADS": "2"}  # and so one stream


def listen(
    manager: AsyncioLoopManager,
    store: Store,
    *,
    seen: str | None = None,
    seconds: float = LIMIT,
    gone: Callable[[], bool] = lambda: False,
) -> SyncIterator[str]:
    def render(snapshot: Snapshot) -> str:
        history = snapshot.history
        return "\n".join(f"{one.url} {len(history.get(one.id, ()))}" for one in snapshot.watched)

    return manager.iterate(
        board_events(store, render, seen=seen, checks=60, seconds=seconds, gone=gone)
    )


async def write(store: Store, *checks: CheckResult, keep: int = 9) -> None:
    async with transaction(store.database) as db:
        await record(db, checks, keep=keep)


def test_an_event_is_the_board_as_it_is_now(manager: AsyncioLoopManager, store: Store) -> None:
    """Each change, an address or a check, is one event, and its id stands for that board."""
    one = manager.run(store.add("http://a/", limit=5))
    with listen(manager, store) as stream:
        assert next(stream) == "retry: 1000\n\n"
        seen = [next(stream)]
        manager.run(write(store, replace(CHECKED, url_id=one.id)))
        seen.append(next(stream))
        other = manager.run(store.add("http://b/", limit=5))
        seen.append(next(stream))
        manager.run(store.remove(other.id))
        seen.append(next(stream))
    assert [event.partition("\n")[2] for event in seen] == [
        "data: http://a/ 0\n\n",
        "data: http://a/ 1\n\n",
        "data: http://a/ 1\ndata: http://b/ 0\n\n",
        "data: http://a/ 1\n\n",
    ]
    ids = [event.partition("\n")[0] for event in seen]
    assert len(set(ids)) == 3
    assert ids[3] == ids[1] != ids[0]  # the same board as then
    assert all(line.startswith("id: ") for line in ids)


def test_boards_that_differ_have_different_versions(
    manager: AsyncioLoopManager, store: Store
) -> None:
    """However often it changes, the board is never taken for another that a page has seen."""
    versions = [manager.run(store.version())]

    def changed(version: str) -> None:
        assert version not in versions
        versions.append(version)

    for _ in range(3):
        one = manager.run(store.add("http://a/", limit=5))
        changed(manager.run(store.version()))
        for _ in range(3):
            manager.run(write(store, replace(CHECKED, url_id=one.id), keep=1))
            changed(manager.run(store.version()))
        manager.run(store.remove(one.id))
        manager.run(store.add(f"http://{len(versions)}/", limit=5))
        changed(manager.run(store.version()))
    assert manager.run(store.snapshot(checks=1)).version == versions[-1]


def test_what_was_seen_is_not_sent_again(
    manager: AsyncioLoopManager, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that has seen it all gets signs of life, and one that has not gets the board."""
    monkeypatch.setattr(events_module, "HEARTBEAT_SECONDS", 0.0)
    one = manager.run(store.add("http://a/", limit=5))
    seen = manager.run(store.version())
    with listen(manager, store, seen=seen) as stream:
        assert [next(stream) for _ in range(3)][1:] == [": nothing new\n\n"] * 2
        manager.run(store.remove(one.id))
        assert next(stream).startswith("id: ")
    with listen(manager, store, seen="0-of-another-board\x00") as stream:
        next(stream)
        assert next(stream).startswith("id: ")


def test_a_stream_ends(manager: AsyncioLoopManager, store: Store) -> None:
    """After its time its thread is free for others."""
    assert list(listen(manager, store, seconds=0)) == ["retry: 1000\n\n"]


def test_a_stream_without_a_listener_ends(manager: AsyncioLoopManager, store: Store) -> None:
    """The server's socket tells at once that a client has gone, not only at a later write."""
    server, client = socket.socketpair()
    with server, client:
        environ = {"gunicorn.socket": server}
        assert not has_gone({})
        assert not has_gone(environ)
        client.sendall(b"GET ")
        assert not has_gone(environ)
        assert server.recv(9) == b"GET "
        stream = listen(manager, store, gone=lambda: has_gone(environ))
        assert next(stream) == "retry: 1000\n\n"
        client.close()
        assert list(stream) == []


def test_a_stream_on_a_database_in_trouble_ends(
    manager: AsyncioLoopManager, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says why, and the browser asks again."""
    with closing(sqlite3.connect(store.database)) as db:
        db.execute("DROP TABLE checks")
    assert list(listen(manager, store)) == ["retry: 1000\n\n"]
    assert "The database cannot be used; a stream ends" in caplog.text


@contextmanager
def streaming(server: Server, *, seen: str | None = None) -> Iterator[Stream]:
    with closing(open_stream(server, seen=seen)) as stream:
        assert stream.status == 200
        yield stream


@contextmanager
def streaming_in_time(server: Server, *, seen: str | None = None) -> Iterator[Stream]:
    """A stream, as soon as there is a place for one."""
    found: list[Stream] = []

    def opened() -> bool:
        stream = open_stream(server, seen=seen)
        if stream.status == 200:
            found.append(stream)
        else:
            stream.close()
        return bool(found)

    wait_until(opened, what="a place for a stream")
    with closing(found[0]) as stream:
        yield stream


@pytest.mark.gunicorn
def test_a_check_arrives_as_an_event(checkout: Path, tmp_path: Path, local: LocalServer) -> None:
    """Two workers, of which one checks: wherever a page listens, it gets the rows as HTML."""
    database = tmp_path / "board.sqlite3"
    with board(checkout, database) as server:
        server.ready(READY)
        with contextlib.ExitStack() as stack:
            streams = [stack.enter_context(streaming(server)) for _ in range(2)]
            for stream in streams:
                assert stream.headers["Content-Type"].startswith("text/event-stream")
                assert stream.headers["Cache-Control"] == "no-store"
            watch_only(database, local.url("/"))
            for stream in streams:
                while True:
                    event = stream.next_with_data()
                    if f">{local.url('/')}</a>" in event.data and "200 OK" in event.data:
                        break
                assert "<title>1 of 1 up · Status board</title>" in event.data


@pytest.mark.gunicorn
def test_a_client_that_goes_away_leaves_its_place(checkout: Path, tmp_path: Path) -> None:
    """Its generator ends, and others have its thread; beyond the limit there are pages only."""
    with board(checkout, tmp_path / "board.sqlite3", **ONE_WORKER) as server:
        server.ready(READY)
        for _ in range(3):
            with streaming_in_time(server) as stream:
                assert stream.next() is not None
                with closing(open_stream(server)) as refused:
                    assert (refused.status, refused.response.read()) == (204, b"")
                assert server.request("/")[0].status == 200
        assert_clean(server)


@pytest.mark.gunicorn
def test_a_request_for_the_head_takes_no_place(checkout: Path, tmp_path: Path) -> None:
    """Whoever only asks what there is does not keep the one stream from others."""
    with board(checkout, tmp_path / "board.sqlite3", **ONE_WORKER) as server:
        server.ready(READY)
        for _ in range(2):
            connection = server.send("/healthz")
            connection.getresponse().read()
            connection.request("HEAD", "/events")
            connection.getresponse().read()
            connection.close()
        with streaming(server):
            pass


@pytest.mark.gunicorn
def test_a_page_goes_on_where_it_was(checkout: Path, tmp_path: Path, local: LocalServer) -> None:
    """A stream ends in good order after its time; the next one sends what is new only."""
    database = tmp_path / "board.sqlite3"
    rarely = {**ONE_WORKER, "CHECK_INTERVAL": "3600", "STREAM_SECONDS": "1.5"}
    with board(checkout, database, **rarely) as server:
        server.ready(READY)
        wait_until(lambda: not server.get("/api/status")["waiting"], what="the first round")
        with streaming(server) as stream:
            event = stream.next_with_data()
            while stream.next() is not None:
                pass
        # A stream gives its place back a moment after its end has been seen.
        with streaming_in_time(server, seen=event.id) as stream:
            start = stream.next()
            assert start is not None
            assert start.retry == "1000"
            while (sign_of_life := stream.next()) is not None:
                assert not sign_of_life.data
        watch_only(database, local.url("/"))
        with streaming_in_time(server, seen=event.id) as stream:
            assert local.url("/") in stream.next_with_data().data


@pytest.mark.gunicorn
@pytest.mark.parametrize("worker", THREADED)
def test_a_server_that_ends_does_not_wait_for_its_streams(
    checkout: Path, tmp_path: Path, worker: str
) -> None:
    """SIGTERM ends the streams, in good order, and then the server."""
    database = tmp_path / "board.sqlite3"
    with board(checkout, database, THREADED[worker], STREAM_SECONDS="3600") as server:
        server.ready(READY)
        with streaming(server) as stream:
            stream.next_with_data()
            server.signal(signal.SIGTERM)
            while stream.next() is not None:
                pass
        assert server.wait() == 0
        assert_clean(server)
