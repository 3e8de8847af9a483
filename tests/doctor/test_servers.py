"""gunicorn's settings: how they are read, and what is said of them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.doctor.parts import WRAPPED, diagnose, hello, run_doctor, severities, subject, write
from wsgi_async import AsyncioLoopManager, AsyncLoopMiddleware
from wsgi_async.core.managers.current import start_once
from wsgi_async.doctor.configuration import read
from wsgi_async.doctor.findings import Server
from wsgi_async.doctor.servers import check_managers, check_server
from wsgi_async.doctor.wrapping import check_wrapping

pytest.importorskip("gunicorn")

OURS = "wsgi_async.integrations.gunicorn.LoopThreadWorker"
GOOD = Server(
    kind="resident", worker_class=OURS, threads=8, graceful_timeout=45, default_hook=False
)


def said(server: Server, **options: Any) -> dict[str, str]:
    app = AsyncLoopMiddleware(hello, **{"timeout": 30, **options})
    return severities(check_server(subject(app, server)))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (f"-k {OURS} --threads 8", {}),
        (f"-k {OURS}", {"one-thread": "warning"}),
        ("-k gthread --threads 8", {"gthread-worker": "note", "streams-hold-worker": "note"}),
        ("--threads 8", {"gthread-worker": "note", "streams-hold-worker": "note"}),
        ("--timeout 60", {"sync-worker": "note", "streams-hold-worker": "note"}),
        ("-k gevent", {"worker-class": "error"}),
        ("-k eventlet", {"worker-class": "error"}),
        ("-k gunicorn.workers.ggevent.GeventWorker", {"worker-class": "error"}),
        ("-k tornado", {"worker-class": "error"}),
        ("-k uvicorn.workers.UvicornWorker", {"worker-class": "error"}),
        ("-k uvicorn_worker.UvicornH11Worker", {"worker-class": "error"}),
        ("-k served.Own --threads 2", {}),
        ("-k served.Unknown", {}),
    ],
)
@pytest.mark.usefixtures("folder")
def test_worker_classes(
    monkeypatch: pytest.MonkeyPatch, arguments: str, expected: dict[str, str]
) -> None:
    """Each worker class is recognized by its name or its base, and told to be good or bad."""
    base = "from wsgi_async.integrations.gunicorn import LoopThreadWorker\n"
    write(Path(), served=f"{base}class Own(LoopThreadWorker): ...\n")
    monkeypatch.setenv("GUNICORN_CMD_ARGS", f"{arguments} --graceful-timeout 45")
    assert said(read(None)) == expected


@pytest.mark.usefixtures("folder")
def test_a_worker_class_itself() -> None:
    """A settings file may have the class instead of its name."""
    settings = "from wsgi_async.integrations.gunicorn import LoopThreadWorker\n"
    settings += "class worker_class(LoopThreadWorker): ...\n"
    Path("gunicorn.conf.py").write_text(settings)
    assert read(None).kind == "resident"


def test_the_default_file_is_read(tmp_path: Path) -> None:
    """A gunicorn.conf.py in the folder is read as gunicorn reads it, and names the app."""
    write(tmp_path, served=WRAPPED)
    settings = "wsgi_app = 'served:app'\nworker_class = 'gevent'\n"
    (tmp_path / "gunicorn.conf.py").write_text(settings)
    assert list(diagnose(tmp_path).findings) == ["worker-class"]


def test_a_file_changes_the_folder_and_the_environment(tmp_path: Path) -> None:
    """The app is imported where gunicorn would import it, with the environment it would have."""
    (tmp_path / "inner").mkdir()
    source = f"{WRAPPED}\nimport os\nassert os.environ['STAGE'] == 'test'\n"
    write(tmp_path / "inner", served=source)
    settings = f"chdir = 'inner'\nraw_env = ['STAGE=test']\nworker_class = {OURS!r}\nthreads = 2\n"
    (tmp_path / "other.py").write_text(f"{settings}graceful_timeout = 45\n")
    assert diagnose(tmp_path, "served:app", "--config", "other.py") == (0, {})


def test_settings_that_gunicorn_refuses_get_status_2(tmp_path: Path) -> None:
    """A mistake in gunicorn's settings is shown as gunicorn shows it."""
    write(tmp_path, served=WRAPPED)
    (tmp_path / "gunicorn.conf.py").write_text("workers = 'many'\n")
    done = run_doctor(tmp_path, "served:app")
    assert (done.returncode, done.stdout) == (2, "")
    assert "Invalid value for workers" in done.stderr


def test_gunicorns_worker_is_not_set_up(tmp_path: Path) -> None:
    """The doctor looks at gevent's worker, and gevent patches nothing in its process."""
    pytest.importorskip("gevent")
    base = "from gunicorn.workers.ggevent import GeventWorker\n"
    write(tmp_path, served=f"{WRAPPED}{base}class Own(GeventWorker): ...\n")
    found = diagnose(tmp_path, "served:app", GUNICORN_CMD_ARGS="-k served.Own").findings
    assert "worker-class" in found
    assert "greenlets" not in found


@pytest.mark.parametrize(
    ("seconds", "timeout", "expected"),
    [
        (9, None, {"graceful-timeout": "warning"}),
        (10, None, {}),
        (20, 30, {"graceful-timeout": "warning"}),
        (30, 30, {"graceful-timeout": "note"}),
        (40, 30, {}),
    ],
)
def test_a_stop_needs_time_for_requests_and_cleanup(
    seconds: int, timeout: int | None, expected: dict[str, str]
) -> None:
    """A graceful_timeout that kills requests or their cleanup is reported."""
    assert said(replace(GOOD, graceful_timeout=seconds), timeout=timeout) == expected


def test_an_endless_time_limit_is_none() -> None:
    """The advice never speaks of infinite seconds."""
    app = AsyncLoopMiddleware(hello, timeout=math.inf)
    found = list(check_server(subject(app, replace(GOOD, graceful_timeout=9))))
    assert severities(found) == {"graceful-timeout": "warning"}
    assert "inf" not in found[0].state + found[0].remedy
    endless = subject(app, replace(GOOD, kind="sync"))
    assert severities(check_server(endless)) == {"sync-worker": "note"}
    assert severities(check_wrapping(endless)) == {"no-timeout": "note"}


def test_a_remedy_counts_all_seconds() -> None:
    """The advice has room for the time limit, the grace and the cleanup."""
    app = AsyncLoopMiddleware(hello, timeout=30, grace=3)
    (found,) = check_server(subject(app, replace(GOOD, graceful_timeout=5)))
    assert found.remedy == "Set graceful_timeout to 43 or more."


@pytest.mark.parametrize(
    ("kind", "seconds", "expected"),
    [("sync", 30, True), ("sync", 31, False), ("sync", 0, False), ("gthread", 5, False)],
)
def test_a_sync_worker_is_killed_before_the_apps_time_limit(
    kind: str, seconds: int, expected: bool
) -> None:
    """gunicorn's timeout hides the app's with the sync worker, and with no other."""
    assert ("worker-timeout" in said(replace(GOOD, kind=kind, timeout=seconds))) is expected


def test_the_resident_worker_without_effect() -> None:
    """Who shares one loop in the process hears that LoopThreadWorker adds nothing."""
    assert said(GOOD, per="process") == {"resident-per-process": "note"}


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        (None, {"manager-before-fork": "note"}),
        (replace(GOOD, preload=True), {"manager-before-fork": "warning"}),
        (GOOD, {}),
    ],
)
def test_a_manager_from_before_the_fork(server: Server | None, expected: dict[str, str]) -> None:
    """A manager that the workers cannot use is reported where there is a fork after its start."""
    with AsyncioLoopManager("poller") as manager:
        app = AsyncLoopMiddleware(hello)
        found = list(check_managers(subject(app, server, started_by_app=[manager])))
        assert severities(found) == expected
        assert all("'poller'" in each.state for each in found)
        found = list(check_managers(subject(app, GOOD, started_by_config=[manager])))
        assert severities(found) == {"manager-before-fork": "warning"}


def test_what_run_starts_at_import_is_no_problem() -> None:
    """`run()` at import is not reported: it makes another manager after the fork."""
    with AsyncioLoopManager() as manager:
        manager.stop()
        start_once(manager)
        preload = replace(GOOD, preload=True)
        app = AsyncLoopMiddleware(hello)
        assert list(check_managers(subject(app, preload, started_by_app=[manager]))) == []


def test_managers_are_told_apart_by_when_they_start(tmp_path: Path) -> None:
    """A manager of the app counts with preload_app, and one of gunicorn's settings always."""
    manager = "import wsgi_async\nmanager = wsgi_async.AsyncioLoopManager({!r})\nmanager.start()\n"
    write(tmp_path, served=WRAPPED + manager.format("of the app"))
    (tmp_path / "gunicorn.conf.py").write_text(manager.format("of the settings"))
    for arguments, name in (("", "of the settings"), ("--preload", "of the app")):
        done = run_doctor(tmp_path, "served:app", GUNICORN_CMD_ARGS=arguments)
        assert done.returncode == 1
        assert f"{name!r}" in " ".join(done.stdout.split())
