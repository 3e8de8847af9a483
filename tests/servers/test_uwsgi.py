"""What is uWSGI's own: threads that have to be switched on, and forks that skip Python's hooks."""

from __future__ import annotations

import shutil
import signal
import sys
from types import SimpleNamespace

import pytest

from tests.middleware.wsgi import answer_ok
from tests.servers.kinds import KINDS, uwsgi, uwsgi_without_threads, wait_idle
from tests.servers.process import assert_clean
from wsgi_async import AsyncLoopMiddleware

needs_uwsgi = pytest.mark.skipif(bool(KINDS["uWSGI"].missing()), reason=KINDS["uWSGI"].missing())
needs_uwsgi_without_threads = pytest.mark.skipif(
    shutil.which("uwsgi_python3") is None,
    reason="Debian's uwsgi-plugin-python3 is not installed, and newer ones have threads by default",
)


@needs_uwsgi_without_threads
def test_without_enable_threads_the_answer_comes_at_once_and_the_log_has_the_way_out() -> None:
    """The operator does not find out by background work that stands still."""
    with uwsgi_without_threads("tests.servers.apps:app") as server:
        response, _ = server.request("/where")
        assert response.status == 500
        server.wait_for("RuntimeError: uWSGI runs without Python threads.*--enable-threads")
        wait_idle(server)
        server.signal(signal.SIGINT)
        assert server.wait() == 0


def test_without_threads_the_application_is_not_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    """The application raises when it is loaded, because uWSGI's module shows the setting."""
    monkeypatch.setitem(sys.modules, "uwsgi", SimpleNamespace(has_threads=False))
    with pytest.raises(RuntimeError, match=r"without Python threads.*--enable-threads"):
        AsyncLoopMiddleware(answer_ok)


@needs_uwsgi_without_threads
@pytest.mark.parametrize("option", ["--enable-threads", "--threads=2"])
def test_the_way_out_is_one(option: str) -> None:
    """With either of the options in the message it serves, and ends in order."""
    with uwsgi_without_threads("tests.servers.apps:app", option) as server:
        pid = server.get("/keep")["pid"]
        wait_idle(server)
        server.signal(signal.SIGINT)
        assert server.wait() == 0
        assert server.find(rf"cleaned up pid={pid} ")
        assert_clean(server)


@needs_uwsgi
@pytest.mark.parametrize("options", [[], ["--processes=2"]])
def test_a_loop_in_the_master_is_warned_of_before_the_fork(options: list[str]) -> None:
    """The log says what to set, once, before a worker may hang that was forked beside a loop."""
    with uwsgi("tests.servers.twice:app", *options) as server:
        server.wait_for("'one'.* was started in uWSGI's master.*py-call-uwsgi-fork-hooks")
        assert len(server.find("was started in uWSGI's master")) == 1


# Without the option CPython's own locks may stay held in a worker, as a loop runs in the master.
@needs_uwsgi
@pytest.mark.parametrize("threads", ["--threads=1", "--threads=2"])
def test_a_worker_is_refused_the_masters_loop_and_has_its_own(threads: str) -> None:
    """If uWSGI forks after it has loaded the app, a clear error is raised and nothing hangs."""
    options = ["--py-call-uwsgi-fork-hooks", threads]
    with uwsgi("tests.servers.forked:app", *options) as server:
        for _ in range(3):
            answer = server.get("/managers")
            assert answer["pid"] != server.pid
            assert answer["own"] == answer["pid"]
            assert answer["at_start"] == [answer["pid"]]
            assert "belongs to the parent process" in answer["refusal"]
        assert not server.find("py-call-uwsgi-fork-hooks")
        wait_idle(server)
        server.signal(signal.SIGINT)
        assert server.wait() == 0
        assert_clean(server)


@needs_uwsgi
def test_workers_that_load_the_app_themselves_have_the_managers_it_made() -> None:
    """With --lazy-apps nothing is inherited, so a manager made at import works in requests."""
    with uwsgi("tests.servers.forked:app", "--lazy-apps") as server:
        server.wait_for("WSGI app 0")
        answer = server.get("/managers")
        assert answer["pid"] != server.pid
        assert answer["refusal"] is None
        assert not server.find("py-call-uwsgi-fork-hooks")
        wait_idle(server)
        server.signal(signal.SIGINT)
        assert server.wait() == 0
        assert_clean(server)


@needs_uwsgi
def test_each_process_has_loops_of_its_own() -> None:
    """Two workers forked from one master each serve, and each cleans up at the end."""
    with uwsgi("tests.servers.apps:app", "--processes=2") as server:
        pids: set[int] = set()
        while len(pids) < 2:
            pids.add(server.get("/keep")["pid"])
        wait_idle(server)
        server.signal(signal.SIGINT)
        assert server.wait() == 0
        assert {int(one[1]) for one in server.find(r"cleaned up pid=(\d+)")} == pids
        assert_clean(server)


@needs_uwsgi
def test_with_die_on_term_the_usual_signal_ends_it_in_order() -> None:
    """SIGTERM runs the cleanup too, once uWSGI takes it for the end and not for a reload."""
    with uwsgi("tests.servers.apps:app", "--die-on-term") as server:
        pid = server.get("/keep")["pid"]
        wait_idle(server)
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        assert server.find(rf"cleaned up pid={pid} ")
        assert_clean(server)


@needs_uwsgi
def test_a_streams_loop_is_there_until_uwsgi_closes_the_body() -> None:
    """uWSGI calls close() itself, and the stream's cleanup may still run coroutines."""
    with uwsgi("tests.servers.apps:wrapped_stream") as server:
        _, body = server.request("/")
        loops = body.split()
        assert (len(loops), len(set(loops))) == (3, 1)
        server.wait_for("stream closed")
        assert_clean(server)


@needs_uwsgi
def test_a_client_that_goes_away_ends_the_work_of_its_request() -> None:
    """uWSGI closes the body of a broken connection, and the request's tasks clean up."""
    with uwsgi("tests.servers.apps:wrapped_scoped") as server:
        connection = server.send("/")
        response = connection.getresponse()
        assert response.read(6) == b"piece "
        response.close()
        connection.close()
        server.wait_for("cleaned up")
