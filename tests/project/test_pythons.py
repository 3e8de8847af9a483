"""What looks for the Pythons of a machine, and tests on each; stand-ins take their place here."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Run = Callable[..., subprocess.CompletedProcess[str]]
    StandIn = Callable[..., Path]

pytestmark = [
    pytest.mark.project,
    pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed"),
]

NONE = ["3.11", "3.12", "3.13", "3.13t", "3.14", "3.14t", "3.15", "3.15t"]


@pytest.fixture
def stand_in(tmp_path: Path) -> StandIn:
    """Makes an executable that says it is a Python of some version, or does not start."""

    def make(name: str, says: str | None) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/sh\n" + (f'echo "{says}"\n' if says else "exit 1\n"))
        path.chmod(0o755)
        return path

    return make


@pytest.fixture
def run(checkout: Path, tmp_path: Path) -> Run:
    """Runs a script of `.ci` on a machine that has the stand-ins in `bin` and no other Python."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in ("bash", "cat", "dirname", "env", "grep", "sort"):
        found = shutil.which(tool)
        assert found
        (tools / tool).symlink_to(found)

    def begin(script: str, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": f"{tmp_path / 'bin'}{os.pathsep}{tools}", **more}
        return subprocess.run(
            [checkout / ".ci" / script, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    return begin


def lines(done: subprocess.CompletedProcess[str]) -> list[str]:
    assert done.returncode == 0, done.stderr
    return [line.strip() for line in done.stdout.splitlines()]


def test_finds_what_is_on_path(run: Run, stand_in: StandIn) -> None:
    """Each supported version is listed in order, with its path where there is one."""
    newest, oldest = stand_in("bin/python3.15", "3.15"), stand_in("bin/python3.11", "3.11")
    expected = [*NONE]
    expected[0] = f"3.11 {oldest}"
    expected[-2] = f"3.15 {newest}"
    assert lines(run("pythons")) == expected


def test_passes_over_what_does_not_start(run: Run, stand_in: StandIn) -> None:
    """A version manager's stand-in, or another Python under that name, does not count."""
    stand_in("bin/python3.12", None)
    stand_in("bin/python3.13", "3.12")
    assert lines(run("pythons")) == NONE


def test_tells_free_threaded_builds_from_others(run: Run, stand_in: StandIn) -> None:
    """A free-threaded build is a Python of its own, and never taken for the other."""
    free = stand_in("bin/python3.14t", "3.14t")
    stand_in("bin/python3.13", "3.13t")
    found = lines(run("pythons"))
    assert f"3.14t {free}" in found
    assert {"3.13", "3.14"} <= set(found)


def test_finds_those_of_pyenv(run: Run, stand_in: StandIn, tmp_path: Path) -> None:
    """Of the releases that pyenv has, the newest that starts is taken, free-threaded ones too."""
    stand_in("bin/pyenv", None).write_text(f"""#!/bin/sh
if [ "$1" = root ]; then echo "{tmp_path}/pyenv"; exit; fi
printf "%s\\n" 3.12.9 3.12.11 3.12.12 3.13.2t 3.14-dev
""")
    stand_in("pyenv/versions/3.12.9/bin/python", "3.12")
    second = stand_in("pyenv/versions/3.12.11/bin/python", "3.12")
    free = stand_in("pyenv/versions/3.13.2t/bin/python", "3.13t")
    stand_in("pyenv/versions/3.14-dev/bin/python", "3.14")
    found = lines(run("pythons"))
    assert f"3.12 {second}" in found
    assert f"3.13t {free}" in found
    assert {"3.13", "3.14"} <= set(found)


def test_takes_those_that_are_named(run: Run, stand_in: StandIn) -> None:
    """`PYTHONS` names interpreters anywhere: instead of those found, and of other versions too."""
    stand_in("bin/python3.14", "3.14")
    own, coming = stand_in("own/python", "3.14"), stand_in("own/coming", "3.16")
    found = lines(run("pythons", PYTHONS=f"{own} {coming}"))
    assert [line for line in found if " " in line] == [f"3.14 {own}", f"3.16 {coming}"]


@pytest.mark.parametrize("script", ["pythons", "test-all"])
def test_refuses_a_named_one_that_does_not_start(run: Run, stand_in: StandIn, script: str) -> None:
    """A slip in `PYTHONS` is an error, not a Python that goes untested."""
    broken = stand_in("own/python", None)
    done = run(script, PYTHONS=str(broken))
    assert done.returncode != 0
    assert str(broken) in done.stderr


def test_all_are_tested(run: Run, stand_in: StandIn) -> None:
    """`make test-all` runs the tests on all that are found, and tells of each how it went."""
    good, bad = stand_in("bin/python3.11", "3.11"), stand_in("bin/python3.13t", "3.13t")
    make = stand_in("own/make", None)
    make.write_text('#!/bin/sh\necho "$@"\ncase "$2" in *t) exit 2 ;; esac\n')
    done = run("test-all", "-k", "fork", MAKE=str(make))
    assert done.returncode == 1
    for version, python in (("3.11", good), ("3.13t", bad)):
        assert f"test PYTHON={python} VENV=.venv-{version} TEST_ARGS=-k fork\n" in done.stdout
    for line in ("Python 3.11 passed", "Python 3.13t FAILED", "Python 3.15 not found"):
        assert f"\n{line}\n" in done.stdout


def test_nothing_to_test_on_is_an_error(run: Run) -> None:
    """Where there is no supported Python, `make test-all` does not pass."""
    assert run("test-all", MAKE="true").returncode == 1
