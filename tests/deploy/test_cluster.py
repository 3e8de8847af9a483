"""`make run-cluster`: the board behind nginx on two gunicorns, with its checks on a queue."""

from __future__ import annotations

import re
import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from example_app.cluster import programs
from example_app.cluster.services import nginx_config
from example_app.settings import Settings
from tests.servers.process import Server, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.project, pytest.mark.gunicorn]

DONE_BY_THE_WORKER = r'ForkPoolWorker-\d+\] HTTP Request: GET \S+/demo/fast "HTTP/1.1 200'


@pytest.fixture
def cluster() -> Iterator[Server]:
    for module in ("celery", "psycopg_pool", "redis"):
        pytest.importorskip(module, reason=f"{module} is not installed")
    try:
        programs.find()
    except programs.MissingError as missing:
        pytest.skip(str(missing))
    environment = {
        "PORT": "0",
        "WORKERS": "1",
        "THREADS": "4",
        "CHECK_INTERVAL": "0.5",
        # Celery and its clients use what newer ones call deprecated.
        "PYTHONWARNINGS": "ignore",
    }
    with Server("-m", "example_app.cluster", **environment) as server:
        try:
            server.ready(r"The cluster is ready at http://127\.0\.0\.1:(\d+)")
            yield server
        finally:
            with suppress(ProcessLookupError):
                server.signal(signal.SIGINT)  # it has processes that a SIGKILL would leave
            server.wait()


def descendants(pid: int) -> set[int]:
    """The processes that a process has started, and those that they have."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # ended meanwhile
    found, fresh = set(), {pid}
    while fresh:
        fresh = {child for child, parent in parents.items() if parent in fresh}
        found |= fresh
    return found


def running(pids: set[int]) -> list[int]:
    """Those that have not ended; who has lost its parent may be a zombie for a moment."""
    paths = {pid: Path("/proc") / str(pid) / "stat" for pid in pids}
    return [pid for pid, path in paths.items() if path.exists() and ") Z " not in path.read_text()]


def command_line(pid: int) -> str:
    """What started it; nothing if it has ended meanwhile."""
    try:
        return (Path("/proc") / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def rounds(server: Server) -> list[dict[str, Any]]:
    """The checks of the fast demo address, as nginx hands them on."""
    found: list[dict[str, Any]] = server.get("/api/status")["urls"][0]["history"]
    return found


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_the_worker_checks_and_nothing_is_left(cluster: Server) -> None:
    """The page shows checks that the queue's worker has done; Ctrl-C ends all that was started."""
    wait_until(lambda: len(rounds(cluster)) >= 3, what="three rounds")
    assert all(check["ok"] for check in rounds(cluster))
    assert any(check["reused"] for check in rounds(cluster))  # the worker keeps its client open
    assert len(cluster.find(DONE_BY_THE_WORKER)) >= 3

    started = descendants(cluster.pid)
    lines = "\n".join(command_line(pid) for pid in started)
    for name in ("nginx", "redis", "postgres", "celery", "gunicorn"):
        assert name in lines
    folder = re.search(r"\S+/board-cluster-\w+", lines)
    assert folder is not None
    cluster.signal(signal.SIGINT)
    assert cluster.wait() == 0
    wait_until(lambda: not running(started), what="the end of all processes")
    assert not Path(folder[0]).exists()
    assert not cluster.find("Traceback|never awaited|was destroyed|Exception ignored")


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_process_that_ends_ends_the_cluster(cluster: Server) -> None:
    """When one of the processes ends, one line names it, and the others are stopped."""
    started = descendants(cluster.pid)
    (proxy,) = [pid for pid in started if "nginx: master" in command_line(pid)]
    cluster.signal(signal.SIGKILL, proxy)
    assert cluster.wait() == 1
    assert cluster.find("^The cluster cannot run: nginx has ended")
    wait_until(lambda: not running(started), what="the end of all processes")


def test_a_missing_program_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a program is not installed, one sentence names it, and the package to install."""
    monkeypatch.setattr(programs, "_in_folders", lambda name: None)
    with pytest.raises(programs.MissingError) as error:
        programs.find()
    assert "nginx, redis-server cannot be found" in str(error.value)
    assert "apt-get install nginx redis-server" in str(error.value)
    with Server("-m", "example_app.cluster", PATH=str(tmp_path)) as server:
        assert server.wait() == 1
        assert server.find("^The cluster cannot run: .*redis-server.* cannot be found")
        assert "Traceback" not in server.log


def test_nginx_has_the_settings_of_deploy(checkout: Path, tmp_path: Path) -> None:
    """The cluster's nginx differs from that of `deploy/` in addresses and files only."""
    text = (checkout / "deploy" / "nginx.conf").read_text()
    config = nginx_config(text, Settings(port=81).bind, ["one:1", "two:2"], tmp_path)
    assert "server one:1 max_fails" in config
    assert "server two:2 max_fails" in config
    assert "listen 127.0.0.1:81;" in config
    assert "board-" not in config.replace(str(tmp_path), "")
