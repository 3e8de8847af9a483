"""Django's development server, which starts a thread for each connection."""

from __future__ import annotations

import itertools
import os
import signal
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.servers.process import Server, assert_clean, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

MANAGE = str(Path(__file__).parent / "project" / "manage.py")
READY = r"Starting (?:WSGI )?development server at http://127\.0\.0\.1:(\d+)"


@pytest.fixture(scope="module")
def runserver(sqlite: str) -> Iterator[Server]:
    """`manage.py runserver`, ready."""
    options = ("runserver", "--noreload", "127.0.0.1:0")
    with Server(MANAGE, *options, DATABASE=sqlite, DEBUG="yes") as server:
        yield server.ready(READY)


def test_a_loop_outlives_its_connection(runserver: Server) -> None:
    """Each request comes on a thread of its own, and has a loop that was there before."""
    asked = [runserver.get("/where") for _ in range(8)]
    # A thread may still be ending when the next begins, which then needs another loop.
    assert len({facts["loop"] for facts in asked}) <= 4
    for facts in asked:
        assert len(facts["stepped_by"]) == 1
        assert facts["orm"] == facts["worker"]
        assert facts["orm_connection"] == facts["connection"]


def test_static_files_are_served(runserver: Server) -> None:
    """Django's own handler of them goes around the application."""
    response, body = runserver.request("/static/note.txt")
    assert (response.status, body) == (200, b"a static file\n")


def test_a_stream_is_sent_item_by_item(runserver: Server) -> None:
    """The client has the first item before the second is made."""
    with closing(runserver.send("/stream?name=steps")) as connection:
        response = connection.getresponse()
        assert response.readline() == b"first\n"
        runserver.get("/release")
        assert response.read() == b"second\n"
    assert "steps closed, same task thread orm connection" in runserver.get("/texts")["texts"]
    assert not runserver.find("must consume")


def test_ctrl_c_ends_it(sqlite: str) -> None:
    """It ends at once, with nothing left open."""
    options = ("runserver", "--noreload", "127.0.0.1:0")
    with Server(MANAGE, *options, DATABASE=sqlite, DEBUG="yes") as server:
        server.ready(READY).get("/where")
        server.signal(signal.SIGINT)
        assert server.wait() == 0
        assert_clean(server)


def test_it_reloads_changed_code(sqlite: str, tmp_path: Path) -> None:
    """A changed module starts it anew, though loops were open, and requests work again."""
    changing = tmp_path / "changing.py"
    changing.write_text("")
    paths = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    options = {"DATABASE": sqlite, "DEBUG": "yes", "APPS": "changing", "PYTHONPATH": paths}
    with Server(MANAGE, "runserver", "127.0.0.1:0", **options) as server:
        server.ready(READY).get("/where")
        changing.write_text("changed = True")
        times = itertools.count(4_000_000_000)  # not by the clock, whose steps may be too coarse

        def reloaded() -> bool:
            # Again and again: what had changed before the reloader's first look does not count.
            if len(server.find(READY)) < 2:
                os.utime(changing, (0, next(times)))
            return len(server.find(READY)) >= 2

        wait_until(reloaded, what="the changed module starts the server anew")
        server.port = int(server.find(READY)[-1][1])
        assert server.get("/where")["is_request_loop"]
        assert_clean(server)
