from __future__ import annotations

import ast
import signal
from typing import TYPE_CHECKING

import pytest

from tests.examples.commands import command

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.process import Server

LINES = 70


@pytest.mark.example("script")
def test_script(script: Server) -> None:
    """Each way to call async code gives its result, and nothing is left open."""
    assert script.wait() == 0
    assert script.log.splitlines() == [
        *("one loaded", "two loaded", "['a loaded', 'b loaded']"),
        *("page 1 loaded", "page 2 loaded", "page 3 loaded"),
    ]


@pytest.mark.slow
@pytest.mark.example("scheduler")
def test_scheduler(script: Server) -> None:
    """All rounds have one client, which is closed when Ctrl-C ends the program."""
    script.wait_for("report 2 sent with the client")
    script.signal(signal.SIGINT)
    assert script.wait() == 0
    opened, *reports, closed = script.log.splitlines()
    assert (opened, closed) == ("client opened", "client closed")
    assert [line.partition(" sent")[0] for line in reports][:2] == ["report 1", "report 2"]


def test_each_example_is_short_and_says_how_to_run_it(checkout: Path) -> None:
    """A file can be read in a minute, and its docstring names the commands."""
    files = sorted((checkout / "examples").glob("*.py"))
    assert len(files) >= 10
    for file in files:
        text = file.read_text()
        docstring = ast.get_docstring(ast.parse(text)) or ""
        assert "\n    pip install '..[" in docstring or "\n    pip install ..\n" in docstring, file
        assert file.stem in " ".join(command(file))
        assert text.count("\n") <= LINES, file


def test_each_example_is_run(checkout: Path) -> None:
    """An example that is added gets a test of its own."""
    tests = "".join(file.read_text() for file in (checkout / "tests/examples").glob("test_*.py"))
    names = [file.stem for file in (checkout / "examples").glob("*.py")]
    assert [name for name in names if f'example("{name}"' not in tests] == []
