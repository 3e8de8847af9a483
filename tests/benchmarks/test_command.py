"""The benchmark as a command."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks.child import environment, module
from benchmarks.effort import QUICK
from benchmarks.scenarios import SUBJECTS


def run(*arguments: str, flags: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run the benchmark in a process without debug modes."""
    interpreter, *rest = module("benchmarks", *arguments)
    return subprocess.run(
        [interpreter, *flags, *rest],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def test_debug_mode_is_refused() -> None:
    """Nobody publishes figures that were taken in debug mode by mistake."""
    done = run("--quick", "--only", "task", flags=("-X", "dev"))
    assert done.returncode == 2
    assert "Refused: with -X dev" in done.stderr
    assert not done.stdout


@pytest.mark.slow
def test_part_of_it_from_the_command_line(tmp_path: Path) -> None:
    """`--quick --only --output` prints the table and leaves JSON (and a plot) in the folder."""
    done = run("--quick", "--only", "alone", "--only", "task", "--output", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "run() / limit" in done.stdout
    content = json.loads((tmp_path / "results.json").read_text())
    assert list(content["results"]) == ["alone", "task"]
    measured = {each["key"] for each in content["figures"] if each["value"] is not None}
    assert measured == {"resident", "resident_submit", "resident_task", "keeper"}


def test_processes_it_starts_have_no_debug_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server or a manager at rest is measured without debug modes, whatever this process has."""
    modes = ("PYTHONASYNCIODEBUG", "PYTHONDEVMODE", "PYTHONTRACEMALLOC")
    for name in modes:
        monkeypatch.setenv(name, "1")
    assert environment().keys().isdisjoint(modes)


def options(*arguments: str) -> argparse.Namespace:
    """Parse a command line."""
    return command.arguments().parse_args(arguments)


def test_everything_is_measured_by_default() -> None:
    """Without options nothing is left out."""
    assert command.chosen(options()) == list(SUBJECTS)


def test_what_needs_a_server_can_be_left_out() -> None:
    """Where no server can be started, the rest can be measured."""
    left_out = set(SUBJECTS) - set(command.chosen(options("--no-gunicorn")))
    assert left_out == {
        "requests",
        "flask",
        "django",
        "redis_view",
        "redis_cpu",
        "upstream",
        "celery",
        "events",
        "mount_requests",
        "mount_first",
        "endpoints",
        "first",
        "watched",
    }


def test_what_is_missing_is_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where a scenario cannot be measured, the others are, and the reason is told."""
    monkeypatch.setattr("benchmarks.redis_server.missing", lambda: "there is no Redis")
    assert command.measure(["redis"], QUICK) == {}
    assert "skipped: there is no Redis" in capsys.readouterr().err


def test_unknown_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """A misspelt name is answered with those that there are."""
    with pytest.raises(SystemExit):
        options("--only", "nothing")
    assert "neighbours" in capsys.readouterr().err


def test_the_interpreter_is_this_one() -> None:
    """Processes that the benchmark starts run on the interpreter that is being measured."""
    assert module("benchmarks")[0] == sys.executable
