"""The two commands, without what pip does in them (a fresh clone in CI shows that)."""

from __future__ import annotations

import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.request import urlopen

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [
    pytest.mark.project,
    pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed"),
]


FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
STAMP = f".made-{platform.python_version()}" + "t" * FREE_THREADED


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment for make, in which the example keeps its database out of the checkout."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return {**kept, "STATUS_BOARD_DB": str(tmp_path / "board.db"), "PYTHON": sys.executable}


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    """A folder that the Makefile takes for an environment in which all is installed."""
    folder = tmp_path / "venv"
    (folder / "bin").mkdir(parents=True)
    python = folder / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    (folder / STAMP).touch()
    for extra in ("example", "cluster", "test", "check", "bench", "compare", "docs"):
        (folder / f".extra-{extra}").touch()
    return folder


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def dry_run(checkout: Path, environment: dict[str, str], *arguments: str) -> str:
    return subprocess.run(
        ["make", "--dry-run", *arguments],
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


@contextmanager
def running(
    checkout: Path, environment: dict[str, str], *arguments: str
) -> Iterator[subprocess.Popen[str]]:
    """`make` with these arguments, in a process group of its own that is gone afterwards."""
    with subprocess.Popen(
        ["make", *arguments],
        cwd=checkout,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


def read_until(process: subprocess.Popen[str], pattern: str) -> str:
    """What the process prints up to the line with this pattern."""
    assert process.stdout
    seen = ""
    for line in process.stdout:
        seen += line
        if re.search(pattern, line):
            return seen
    pytest.fail(f"no {pattern!r} in:\n{seen}")


@pytest.mark.gunicorn
@pytest.mark.parametrize(("target", "path"), [("run", "healthz"), ("run-django", "api/status")])
def test_run_serves_the_board(
    checkout: Path, environment: dict[str, str], venv: Path, target: str, path: str
) -> None:
    """`make run` says where and how the board is served, does so, and ends with it on SIGTERM."""
    port = free_port()
    arguments = (target, f"VENV={venv}", f"PORT={port}", "WORKERS=1", "THREADS=2")
    with running(checkout, environment, *arguments) as process:
        said = read_until(process, r"Booting worker|\[ERROR\]")
        assert f"at http://127.0.0.1:{port}, on the threads of a LoopThreadWorker" in said
        assert re.search(r"Using worker: .*\.LoopThreadWorker$", said, re.MULTILINE)
        with urlopen(f"http://127.0.0.1:{port}/{path}", timeout=10) as response:
            assert response.status == 200
        os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=30)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def test_second_time_installs_nothing(
    checkout: Path, environment: dict[str, str], venv: Path
) -> None:
    """When the environment is there, `make run` and `make test` start at once."""
    for target in ("run", "run-django", "run-cluster", "test", "check", "bench", "compare", "docs"):
        assert "pip" not in dry_run(checkout, environment, target, f"VENV={venv}")


def test_first_time_makes_an_environment(
    checkout: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    """In a fresh clone, the environment is made and the extras are installed into it."""
    steps = dry_run(checkout, environment, "run", f"VENV={tmp_path}/new")
    made, installed, served = (
        steps.index(step) for step in ("-m venv", "--editable '.[example]'", "-m gunicorn")
    )
    assert made < installed < served


def test_changed_dependencies_are_installed(
    checkout: Path, environment: dict[str, str], venv: Path
) -> None:
    """After an edit of pyproject.toml the next `make test` installs again."""
    for stamp in (STAMP, ".extra-test"):
        os.utime(venv / stamp, (0, 0))
    extra = "test-free-threaded" if FREE_THREADED else "test"
    assert f"--editable '.[{extra}]'" in dry_run(checkout, environment, "test", f"VENV={venv}")


def test_another_python_makes_the_environment_anew(
    checkout: Path, environment: dict[str, str], venv: Path
) -> None:
    """`make test PYTHON=...` tests with that Python, not with the one from last time."""
    (venv / STAMP).rename(venv / ".made-3.0.0")
    assert "-m venv" in dry_run(checkout, environment, "test", f"VENV={venv}")


@pytest.mark.parametrize("name", ["python3", "python3.11", "python3.15"])
def test_finds_the_only_python(
    checkout: Path, environment: dict[str, str], tmp_path: Path, name: str
) -> None:
    """Whatever the one Python of the machine is called, it is found."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("make", "sh"):
        (tools / tool).symlink_to(shutil.which(tool) or "")
    (tools / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (tools / name).chmod(0o755)
    del environment["PYTHON"]
    steps = dry_run(checkout, {**environment, "PATH": str(tools)}, "test", f"VENV={tmp_path}/new")
    assert f'"{name}" -m venv' in steps


@pytest.mark.parametrize(("tag", "extra"), [("", "test"), ("t", "test-free-threaded")])
def test_installs_what_the_build_can_have(
    checkout: Path, environment: dict[str, str], tmp_path: Path, tag: str, extra: str
) -> None:
    """`make test` leaves out what has no wheels for a free-threaded build, where it is on one."""
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho 3.14.9{tag}\n")
    python.chmod(0o755)
    environment["PYTHON"] = str(python)
    steps = dry_run(checkout, environment, "test", f"VENV={tmp_path}/new")
    assert f"/.made-3.14.9{tag}\n" in steps
    assert f"--editable '.[{extra}]'" in steps
    # The example needs nothing that is not there.
    steps = dry_run(checkout, environment, "run", f"VENV={tmp_path}/new")
    assert "--editable '.[example]'" in steps


@pytest.mark.parametrize(("tag", "given", "seen"), [("", "", ""), ("t", "", "0"), ("t", "1", "1")])
def test_keeps_the_gil_off(
    checkout: Path, environment: dict[str, str], venv: Path, tag: str, given: str, seen: str
) -> None:
    """A free-threaded build is tested without the GIL, unless the environment says otherwise."""
    python = venv / "bin" / "python"
    python.write_text(f'#!/bin/sh\n[ "$1" = -c ] && echo 3.14.9{tag} || echo "GIL=$PYTHON_GIL"\n')
    (venv / STAMP).rename(venv / f".made-3.14.9{tag}")
    (venv / ".extra-test").touch()
    environment.pop("PYTHON_GIL", None)
    if given:
        environment["PYTHON_GIL"] = given
    with running(checkout, environment, "test", f"VENV={venv}", f"PYTHON={python}") as process:
        assert f"GIL={seen}\n" in read_until(process, "GIL=")


def test_leaves_a_foreign_environment_alone(
    checkout: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    """A folder that this Makefile did not make is refused, not deleted."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes").touch()
    done = subprocess.run(
        ["make", "test", f"VENV={tmp_path}/mine"],
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "was not made by this Makefile" in done.stderr
    assert (tmp_path / "mine" / "notes").exists()


def test_defaults_agree_with_the_example(checkout: Path) -> None:
    """The address that `make run` prints is the one that the example listens on."""
    from example_app.settings import Settings

    makefile = (checkout / "Makefile").read_text()
    assert f"\nHOST ?= {Settings().host}\n" in makefile
    assert f"\nPORT ?= {Settings().port}\n" in makefile


def test_help_names_every_command(checkout: Path, environment: dict[str, str]) -> None:
    """`make` alone lists what can be done."""
    shown = subprocess.run(
        ["make"], cwd=checkout, env=environment, capture_output=True, text=True, check=True
    ).stdout
    (phony,) = re.findall(r"^\.PHONY: (.*)$", (checkout / "Makefile").read_text(), re.MULTILINE)
    assert [name for name in phony.split() if f"make {name} " not in shown] == []
