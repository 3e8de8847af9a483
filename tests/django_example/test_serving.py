from __future__ import annotations

import os
import re
import signal
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import httpx2
import pytest

from tests.django_example.board import board, forget, manage, watch
from tests.example.board import open_stream
from tests.servers.process import LIMIT, THREADED, assert_clean, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.example.local import LocalServer
    from tests.servers.process import Server

pytestmark = pytest.mark.gunicorn


ADMIN = {
    "DJANGO_SUPERUSER_USERNAME": "root",
    "DJANGO_SUPERUSER_PASSWORD": "secret, of course",
    "DJANGO_SUPERUSER_EMAIL": "root@localhost.example",
}


def visitor(server: Server) -> httpx2.Client:
    """A client that keeps its cookies, as a browser does."""
    base_url = f"http://127.0.0.1:{server.port}"
    return httpx2.Client(base_url=base_url, trust_env=False, follow_redirects=True, timeout=LIMIT)


def post(client: httpx2.Client, path: str, **fields: str) -> httpx2.Response:
    """Send a form of the board's."""
    return client.post(path, data=fields | {"csrfmiddlewaretoken": client.cookies["csrftoken"]})


def shown(client: httpx2.Client) -> list[str]:
    return [row["url"] for row in client.get("/api/status").json()["urls"]]


@pytest.mark.slow
@pytest.mark.parametrize("worker", THREADED)
def test_the_board_under_gunicorn(checkout: Path, database: Path, worker: str) -> None:
    """With no network the board shows its own endpoints, checked by one of its two workers."""
    with board(checkout, database, THREADED[worker]) as server:
        wait_until(
            lambda: not server.get("/api/status")["waiting"], what="all addresses are checked"
        )
        status = server.get("/api/status")
        rows = [(re.sub(r".*/demo/", "", row["url"]), row["state"]) for row in status["urls"]]
        assert rows == [("fast", "up"), ("slow", "up"), ("failing", "down")]
        workers = {found[1] for found in server.find(r"Booting worker with pid: (\d+)")}
        assert status["checker"].partition("-")[0] in workers
        for path, code, sign in [
            ("/", 200, b"2 of 3 up"),
            ("/check", 200, b"Checked 3 addresses at once"),
            ("/demo/failing", 503, b"Out of order"),
            ("/admin/login/", 200, b'name="password"'),
            ("/static/board.css", 200, b".row"),
            ("/static/admin/css/base.css", 200, b"body"),
            ("/nothing", 404, b"Back to the board"),
        ]:
            response, body = server.request(path)
            assert (path, response.status, sign in body) == (path, code, True)
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        assert_clean(server)
    with closing(sqlite3.connect(database)) as db:
        assert db.execute("SELECT * FROM status_lease").fetchall() == []


def test_an_address_is_added_and_removed(checkout: Path, database: Path) -> None:
    """The form takes what can be checked, once, from the board's own pages only."""
    with board(checkout, database, CHECK_INTERVAL="3600") as server, visitor(server) as client:
        client.get("/")
        assert client.post("/", data={"url": "http://a.example/"}).status_code == 403
        for url, problem in [
            ("", "Enter an address, such as"),
            ("ftp://a.example/", "must start with http:// or https://"),
            ("http://a.example:port/", "The port must be a number"),
        ]:
            refused = post(client, "/", url=url)
            assert (refused.status_code, problem in refused.text) == (400, True)
        assert len(shown(client)) == 3

        added = post(client, "/", url=" HTTP://A.example#there")
        assert "http://a.example/</span> is on the board" in added.text
        assert "is on the board" not in client.get("/").text
        assert shown(client)[3:] == ["http://a.example/"]
        again = post(client, "/", url="http://a.example")
        assert (again.status_code, "on the board already" in again.text) == (400, True)

        (remove,) = re.findall(r'action="(/urls/4/remove)"', client.get("/").text)
        assert "Watch it again" in post(client, remove).text
        assert "removed already" in post(client, remove).text
        assert len(shown(client)) == 3

        forget(database)
        for number in range(20):
            watch(database, f"http://{number}.example/")
        full = post(client, "/", url="http://one.more/")
        assert (full.status_code, "The board is full" in full.text) == (400, True)
        assert_clean(server)


@pytest.mark.slow
def test_the_admin_shows_checks_and_changes_none(
    checkout: Path, database: Path, local: LocalServer
) -> None:
    """Checks are what the board has found: an administrator can read them, not add or edit them."""
    made = manage(checkout, database, "createsuperuser", "--noinput", **ADMIN)
    assert made.returncode == 0, made.stderr
    forget(database)
    watch(database, local.url("/"))
    with board(checkout, database) as server, visitor(server) as client:
        client.get("/admin/login/")
        login = {"username": "root", "password": ADMIN["DJANGO_SUPERUSER_PASSWORD"]}
        index = post(client, "/admin/login/?next=/admin/", **login)
        assert "/admin/status/address/add/" in index.text
        assert "/admin/status/check/add/" not in index.text
        wait_until(
            lambda: "/change/" in client.get("/admin/status/check/").text, what="the first check"
        )
        checks = client.get("/admin/status/check/").text
        check = re.findall(r"/admin/status/check/\d+/change/", checks)[0]
        page = client.get(check)
        assert (page.status_code, 'name="_save"' in page.text) == (200, False)
        for path in ("/admin/status/check/add/", check):
            assert post(client, path, error="made up").status_code == 403
        assert client.get("/admin/status/check/add/").status_code == 403


def test_the_stream_brings_what_a_check_has_found(
    checkout: Path, database: Path, local: LocalServer
) -> None:
    """Who listens sees the address that somebody adds, and each change of its state."""
    forget(database)
    with board(checkout, database) as server, closing(open_stream(server)) as stream:
        assert stream.headers["Content-Type"] == "text/event-stream"
        assert "Nothing is watched yet" in stream.next_with_data().data
        watch(database, local.url("/"))
        for status, sign in ((200, "200 OK"), (503, "503 Service Unavailable")):
            local.status = status
            while sign not in (data := stream.next_with_data().data):
                assert local.url("/") in data
        assert_clean(server)


@pytest.mark.parametrize("worker", THREADED)
def test_a_server_that_ends_does_not_wait_for_its_streams(
    checkout: Path, database: Path, worker: str
) -> None:
    """SIGTERM ends the streams, in good order, and then the server."""
    with board(checkout, database, THREADED[worker], STREAM_SECONDS="3600") as server:
        with closing(open_stream(server)) as stream:
            stream.next_with_data()
            server.signal(signal.SIGTERM)
            while stream.next() is not None:
                pass
        assert server.wait() == 0
        assert_clean(server)


def test_a_place_for_a_stream_is_given_back(checkout: Path, database: Path) -> None:
    """Of two worker threads one serves streams at most; it is free again when a page is closed."""
    with board(checkout, database, WORKERS="1", THREADS="2", STREAM_SECONDS="3600") as server:
        with closing(open_stream(server)) as first:
            first.next_with_data()
            with closing(open_stream(server)) as second:
                assert second.status == 204

        def is_free() -> bool:
            with closing(open_stream(server)) as stream:
                return stream.status == 200

        wait_until(is_free, what="a place among the streams")
        assert_clean(server)


def test_a_client_stays_open_between_requests(
    checkout: Path, database: Path, local: LocalServer
) -> None:
    """Async views on two worker threads open two connections, however many requests come."""
    forget(database)
    still = {"WORKERS": "1", "THREADS": "2", "CHECK_INTERVAL": "3600"}
    with board(checkout, database, **still) as server:
        server.get("/api/status")  # the worker has set up its part
        watch(database, local.url("/"))
        pages = [server.request("/check")[1] for _ in range(10)]
        # The background checker may have had its one turn before or after the change.
        assert local.connections <= 3
        assert sum(b"had kept open" in page for page in pages) >= 8
        assert_clean(server)


def test_the_migrations_make_what_the_models_say(checkout: Path, database: Path) -> None:
    """No change of a model has been forgotten, and Django has nothing to find fault with."""
    for command in ("makemigrations", "check"):
        done = manage(checkout, database, command, *_STRICTLY[command])
        assert done.returncode == 0, done.stdout + done.stderr


_STRICTLY = {"makemigrations": ["--check", "--dry-run"], "check": ["--fail-level", "WARNING"]}


def test_a_bad_setting_ends_the_command_with_one_line(checkout: Path) -> None:
    """Whoever mistypes a setting reads a sentence, not a traceback."""
    nowhere = manage(checkout, checkout / os.devnull / "board", "migrate")
    assert nowhere.returncode == 1
    assert re.fullmatch(r"The status board cannot start: .+\.\n", nowhere.stderr)
