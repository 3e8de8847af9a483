from __future__ import annotations

import http.client
import os
import re
import signal
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.example.board import READY, board, watch_only
from tests.servers.process import LIMIT, THREADED, Server

if TYPE_CHECKING:
    from pathlib import Path

    from tests.example.local import LocalServer

pytestmark = pytest.mark.gunicorn


def wait_for_rounds(local: LocalServer, rounds: int) -> None:
    """Wait for so many rounds that are recorded: the one before the last request is."""
    while not local.asked.empty():
        local.wait_asked()
    for _ in range(rounds + 1):
        local.wait_asked()


def rounds_of(server: Server) -> int:
    return len(server.get("/api/status")["urls"][0]["history"])


@pytest.mark.slow
@pytest.mark.parametrize("worker", THREADED)
def test_the_board_under_gunicorn(
    checkout: Path, tmp_path: Path, local: LocalServer, worker: str
) -> None:
    """The page is there, history grows, one of two workers checks, and the other takes over."""
    database = tmp_path / "board.sqlite3"
    with board(checkout, database, THREADED[worker]) as server:
        server.ready(READY)
        response, page = server.request("/")
        assert (response.status, b"<h1>" in page) == (200, True)
        server.wait_for("Booting worker", count=2)
        workers = {found[1] for found in server.find(r"Booting worker with pid: (\d+)")}
        assert len(workers) == 2
        watch_only(database, local.url("/"))
        wait_for_rounds(local, 2)
        before = rounds_of(server)
        wait_for_rounds(local, 2)
        assert rounds_of(server) >= before + 2
        holder = server.get("/api/status")["checker"].partition("-")[0]
        assert holder in workers
        assert local.connections == 1  # one checker, one connection

        server.signal(signal.SIGKILL, int(holder))
        server.wait_for(r"Booting worker with pid", count=3)
        while local.connections == 1:  # the successor opens its own
            local.wait_asked()
        wait_for_rounds(local, 1)
        successor = server.get("/api/status")["checker"].partition("-")[0]
        assert successor != holder

        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        assert not server.find(r"Traceback|never awaited|was destroyed|Exception ignored")
    with closing(sqlite3.connect(database)) as db:
        assert db.execute("SELECT * FROM lease").fetchall() == []


def test_its_own_endpoints_are_checked(checkout: Path, tmp_path: Path) -> None:
    """With no network at all the board shows something: its own fast, slow and failing endpoint."""
    with board(checkout, tmp_path / "board.sqlite3") as server:
        server.ready(READY)
        rows = server.get("/api/check")["urls"]
        assert [(re.sub(r".*/demo/", "", row["url"]), row["state"]) for row in rows] == [
            ("fast", "up"),
            ("slow", "up"),
            ("failing", "down"),
        ]
        assert [row["latest"]["status"] for row in rows] == [200, 200, 503]


def test_a_client_stays_open_between_requests(
    checkout: Path, tmp_path: Path, local: LocalServer
) -> None:
    """With two worker threads, two clients are opened, however many requests come."""
    database = tmp_path / "board.sqlite3"
    still = {"WORKERS": "1", "THREADS": "2", "CHECK_INTERVAL": "3600"}
    with board(checkout, database, **still) as server:
        server.ready(READY)
        server.get("/api/status")  # the worker has set up its part
        watch_only(database, local.url("/"))
        reused = sum(server.get("/api/check")["reused"] for _ in range(10))
        # The background checker may have had its one turn before or after the change.
        assert local.connections <= 3
        assert reused >= 8


def test_one_thread_that_checks_itself_does_not_hang(checkout: Path, tmp_path: Path) -> None:
    """A request that waits for its own thread gives up after its time limit, and tells why."""
    alone = {"WORKERS": "1", "THREADS": "1", "CHECK_TIMEOUT": "0.5", "CHECK_INTERVAL": "3600"}
    with board(checkout, tmp_path / "board.sqlite3", **alone) as server:
        server.ready(READY)
        rows = server.get("/api/check")["urls"]
        assert {row["latest"]["error"] for row in rows} == {"no answer within 0.5 s"}
        assert server.request("/healthz")[1] == b"ok\n"


def test_a_form_sent_over_a_socket(checkout: Path, tmp_path: Path) -> None:
    """Adding works through two workers, which share no memory, with one session cookie."""
    with board(checkout, tmp_path / "board.sqlite3") as server:
        server.ready(READY)
        response, page = server.request("/")
        cookie = (response.headers["Set-Cookie"] or "").partition(";")[0]
        found = re.search(rb'name="csrf_token" value="([^"]+)"', page)
        assert found is not None
        for number in range(6):
            body = f"csrf_token={found[1].decode()}&url=http%3A%2F%2F{number}.example%2F"
            assert post(server, "/urls", body, cookie) == 303
        shown = [row["url"] for row in server.get("/api/status")["urls"]]
        assert shown[3:] == [f"http://{number}.example/" for number in range(6)]


def post(server: Server, path: str, body: str, cookie: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=LIMIT)
    with closing(connection):
        form = {"Content-Type": "application/x-www-form-urlencoded", "Cookie": cookie}
        connection.request("POST", path, body, form)
        return connection.getresponse().status


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"PORT": "http"}, "PORT must be a whole number from 0 to 65535, not 'http'"),
        ({"THREADS": "0"}, "THREADS must be a whole number from 1 to 256, not '0'"),
        ({"STATUS_BOARD_DB": os.devnull + "/board"}, "set STATUS_BOARD_DB to the path of a file"),
    ],
)
def test_a_bad_setting_ends_the_server_with_one_line(
    checkout: Path, tmp_path: Path, environment: dict[str, str], says: str
) -> None:
    """Whoever mistypes a setting reads a sentence, not a traceback."""
    with board(checkout, tmp_path / "board.sqlite3", **environment) as server:
        assert server.wait() == 1
        (line,) = server.find(r"The status board cannot start: (.+)\.$")
        assert says in line[1]
        assert "Traceback" not in server.log
