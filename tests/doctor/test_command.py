"""The command line: what it takes, prints and returns."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.core.support import run_code
from tests.doctor.parts import LIMIT, WRAPPED, diagnose, run_doctor, write
from wsgi_async.__main__ import main
from wsgi_async.doctor.command import examine
from wsgi_async.doctor.command import main as doctor

if TYPE_CHECKING:
    from pathlib import Path

SHARED = f"import asyncio\n{WRAPPED}\nlock = asyncio.Lock()\n"


def test_an_app_without_a_problem_gets_status_0(tmp_path: Path) -> None:
    """A correct app gets one line, so the command fits into a build."""
    done = run_doctor(write(tmp_path, served=WRAPPED), "served:app")
    assert (done.returncode, done.stdout, done.stderr) == (0, "served:app: no problems found\n", "")


def test_a_warning_gets_status_1(tmp_path: Path) -> None:
    """A build fails on a warning, which names file, variable, remedy and page in narrow lines."""
    done = run_doctor(write(tmp_path, served=SHARED), "served:app", COLUMNS="60")
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout == (
        "warning  served.py:11: served.lock (asyncio.locks.Lock)\n"
        "         works on one event loop only, and each thread has\n"
        "         its own. With several threads, requests fail or\n"
        "         hang.\n"
        '         Make it a @loop_resource, or set per="process".\n'
        "         docs/global_clients.md [shared-client]\n"
        "\n"
        "served:app: 1 warning\n"
    )


def test_json_is_a_list_of_findings(tmp_path: Path) -> None:
    """Another program reads each finding with its parts, whatever the app prints at import."""
    source = f"print('hello')\n{SHARED}"
    done = run_doctor(write(tmp_path, served=source), "served:app", "--json")
    assert (done.returncode, done.stderr) == (1, "hello\n")
    found = diagnose(write(tmp_path, served=SHARED), "served:app").findings["shared-client"]
    assert found["severity"] == "warning"
    assert found["where"] == "served.py:11"
    assert set(found) == {"code", "severity", "state", "remedy", "page", "where"}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing:app", "No module named 'missing'"),
        ("served:missing", "has no 'missing'"),
        ("served:1 + 1", "is neither a name nor a call of one"),
        ("served:app(", "is neither a name nor a call of one"),
        ("served:plain(other)", "are not all literals"),
        ("served:SECONDS", "cannot be called"),
        (":app", "names no module"),
        ("broken:app", "ZeroDivisionError"),
        ("leaving:app", "it exits with 'no settings'"),
        ("invalid:app", "SyntaxError"),
    ],
)
def test_an_app_that_cannot_be_imported_is_told(folder: Path, name: str, words: str) -> None:
    """A wrong name and an app that fails at import are told, with the line that fails."""
    write(
        folder,
        served=f"{WRAPPED}\nSECONDS = 5\n",
        broken="\n1 / 0\n",
        leaving="import sys\nsys.exit('no settings')\n",
        invalid="\ndef\n",
    )
    report = examine(name)
    found = report.findings[0]
    assert (report.imported, found.code) == (False, "not-imported")
    assert words in found.state
    lines = {"broken": "broken.py:2", "leaving": "leaving.py:2", "invalid": "invalid.py:2"}
    assert found.where == lines.get(name.partition(":")[0])


def test_an_app_that_cannot_be_imported_gets_status_2(tmp_path: Path) -> None:
    """A build tells an app that is not there from one with problems."""
    status, findings = diagnose(tmp_path, "missing:app")
    assert (status, list(findings)) == (2, ["not-imported"])


def test_an_import_can_be_interrupted(folder: Path) -> None:
    """Ctrl+C while the app is imported ends the command; it is no problem of the app."""
    write(folder, served="raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        examine("served:app")


def test_a_safe_path_gets_the_current_folder(tmp_path: Path) -> None:
    """The app is found as a server finds it, also where Python leaves the folder out."""
    done = run_doctor(write(tmp_path, served=WRAPPED), "served:app", PYTHONSAFEPATH="1")
    assert (done.returncode, done.stderr) == (0, "")


def test_settings_without_gunicorn(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Settings that cannot be read are a note; where they are named, that is bad usage."""
    monkeypatch.setitem(sys.modules, "gunicorn", None)
    monkeypatch.delenv("GUNICORN_CMD_ARGS", raising=False)
    write(folder, served=WRAPPED, **{"gunicorn.conf": "workers = 2\n"})
    assert doctor(["served:app"]) == 0
    assert "[gunicorn-missing]" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        doctor(["served:app", "--config", "gunicorn.conf.py"])
    assert ended.value.code == 2
    assert "--config needs gunicorn" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [[], ["--unknown"], ["served:app", "more"], ["served:app", "--config", "none.py"]]
)
def test_bad_usage_gets_status_2(tmp_path: Path, arguments: list[str]) -> None:
    """A mistake on the command line is explained on stderr."""
    done = run_doctor(write(tmp_path, served=WRAPPED), *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "usage: python -m wsgi_async doctor" in done.stderr


@pytest.mark.parametrize(
    "name", ["served", "served:factory()", "served:factory(1, two=2)", "served:holder.app"]
)
def test_an_app_is_named_as_for_a_server(folder: Path, name: str) -> None:
    """A factory, an attribute and the default name `application` are found."""
    more = (
        "application = app\n"
        "class holder:\n    app = app\n"
        "def factory(one=1, two=2):\n    return app if two == 2 else None\n"
    )
    write(folder, served=WRAPPED + more)
    assert examine(name) == ([], True)


def on_a_terminal(folder: Path, **environ: str) -> str:
    """What the command prints there."""
    parent, child = pty.openpty()
    try:
        subprocess.run(
            [sys.executable, "-m", "wsgi_async", "doctor", "served:app"],
            cwd=folder,
            env={**os.environ, **environ},
            stdout=child,
            timeout=LIMIT,
            check=False,
        )
        return os.read(parent, 65536).decode()
    finally:
        os.close(parent)
        os.close(child)


def test_only_a_terminal_gets_colors(tmp_path: Path) -> None:
    """A terminal shows the severity in color, unless NO_COLOR is set."""
    write(tmp_path, served=SHARED)
    assert "\033[33mwarning  \033[0mserved.py:11" in on_a_terminal(tmp_path, NO_COLOR="")
    assert "\033" not in on_a_terminal(tmp_path, NO_COLOR="1")


@pytest.mark.parametrize("app", ["example_app/gunicorn.conf.py", "django_example/gunicorn.conf.py"])
def test_the_examples_are_healthy(checkout: Path, tmp_path: Path, app: str) -> None:
    """Neither status board has a problem, with the settings that `make run` serves it with."""
    pytest.importorskip("gunicorn")
    pytest.importorskip("aiosqlite")
    database = {"STATUS_BOARD_DB": str(tmp_path / "board.sqlite3")}
    status, findings = diagnose(checkout, "--config", app, **database)
    assert status == 0
    assert {each["severity"] for each in findings.values()} <= {"note"}


def test_commands_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """Who calls the package without a command sees which there are."""
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 0
    assert "doctor" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        main(["unknown"])
    assert ended.value.code == 2


def test_an_app_pays_nothing_for_it() -> None:
    """`import wsgi_async` imports no part of the doctor."""
    code = "import sys, wsgi_async; print(*[name for name in sys.modules if 'doctor' in name])"
    assert run_code(code).strip() == ""
