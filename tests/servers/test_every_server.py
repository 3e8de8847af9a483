"""The same promises under every server, each started for real."""

from __future__ import annotations

import signal
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.servers.apache import readable_copy
from tests.servers.kinds import KINDS, Kind, wait_idle
from tests.servers.process import Caller, Server, assert_clean, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

TERM, INT = signal.SIGTERM, signal.SIGINT


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """For Apache. Not pytest's, which nobody but its owner may enter."""
    yield from readable_copy(Path(tempfile.mkdtemp(prefix="wsgi_async-")))


def installed(name: str) -> Kind:
    kind = KINDS[name]
    if reason := kind.missing():
        pytest.skip(reason)
    return kind


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return installed(request.param)


@pytest.fixture(scope="module")
def server(kind: Kind, folder: Path) -> Iterator[Server]:
    """A server of this kind, for all tests of a kind that do not end it."""
    with kind.start(folder) as server:
        yield server


def at_once(kind: Kind, server: Server, at: str) -> list[dict[str, Any]]:
    """As many requests as the server has threads, all of them in the application together."""
    path = f"/count?at={at}&parties={kind.threads}"
    with ThreadPoolExecutor(kind.threads) as clients:
        return list(clients.map(server.get, [path] * kind.threads))


def test_each_thread_has_a_loop_and_the_next_requests_find_it(kind: Kind, server: Server) -> None:
    """What a request opened on a loop is there for later ones, and two at once never share it."""
    first = at_once(kind, server, "first")
    loops = {answer["loop"] for answer in first}
    assert len(loops) == len({answer["thread"] for answer in first}) == kind.threads
    if kind.keeps_threads:
        again = at_once(kind, server, "again")
        assert {(one["thread"], one["loop"]) for one in again} == {
            (one["thread"], one["loop"]) for one in first
        }
        assert all(answer["requests"] == 2 for answer in again)
        return
    # A thread ends a little after its answer, and only then is its loop free for the next. So the
    # first of these may get a loop of its own, which the ones after it then find: the freshest.
    wait_until(lambda: server.get("/count")["requests"] > 1, what="a loop is used again")


def test_background_work_goes_on_between_requests(server: Server) -> None:
    """What a request has started runs while no request does, and a later one sees its result."""
    with Caller() as caller:
        server.get(f"/call_back?port={caller.port}")
        caller.accept()
        assert caller.hear() == "hello"
        caller.say("news")
        assert caller.hear() == "you said news"
        assert server.get("/outcome")["heard"] == "news"


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("gunicorn gthread", TERM),
        ("gunicorn LoopThreadWorker", TERM),
        ("gunicorn sync", TERM),
        ("waitress", INT),
        ("waitress loop threads", INT),
        ("Werkzeug", INT),
        ("Django", INT),
        ("uWSGI", INT),
        ("uWSGI threads", INT),
        ("mod_wsgi", TERM),
    ],
)
def test_the_cleanup_of_background_work_runs_when_the_server_is_ended(
    name: str, number: signal.Signals, folder: Path
) -> None:
    """The signal that ends the server in order runs the `finally` blocks before it is gone."""
    with installed(name).start(folder) as server:
        pid = server.get("/keep")["pid"]
        wait_idle(server)
        server.signal(number)
        assert server.wait() == 0
        assert server.find(rf"cleaned up pid={pid} ")
        assert_clean(server)


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("waitress", TERM),
        ("Werkzeug", TERM),
        ("Django", TERM),
        ("mod_wsgi subinterpreter", TERM),
    ],
)
def test_where_the_server_runs_no_hook_no_cleanup_runs(
    name: str, number: signal.Signals, folder: Path
) -> None:
    """The documentation's table is right about who must do without: the end is at once."""
    with installed(name).start(folder) as server:
        pid = server.get("/keep")["pid"]
        server.signal(number)
        server.wait()
        assert not server.find(rf"cleaned up pid={pid} ")


def test_mod_wsgi_in_a_subinterpreter_is_told_what_to_set(folder: Path) -> None:
    """The operator reads in the log, once, why no cleanup will run and how to have it."""
    with installed("mod_wsgi subinterpreter").start(folder) as server:
        for _ in range(3):
            server.get("/where")
        server.wait_for(r"subinterpreter '.+'.*Set WSGIApplicationGroup %\{GLOBAL\}\.")
        assert len(server.find("WSGIApplicationGroup")) == 1
