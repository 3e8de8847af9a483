"""`python -m wsgi_async inspect`, for processes that have a socket."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.servers.process import LIMIT, Server, child_environment
from wsgi_async import __main__
from wsgi_async.insight.snapshot import take_snapshot
from wsgi_async.inspector import reading
from wsgi_async.inspector.command import main
from wsgi_async.inspector.reading import Reply
from wsgi_async.inspector.tree import tree
from wsgi_async.inspector.words import SHOWN, seconds

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    Process = Callable[..., AbstractContextManager[Server]]


def inspect(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command as a user calls it."""
    return subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-m", "wsgi_async", "inspect"]
        + [str(one) for one in arguments],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        env=child_environment(PYTHONIOENCODING="utf-8", **environment),
        check=False,
    )


def snapshot(**changes: Any) -> Any:
    """A snapshot with one manager, which has what the test is about."""
    manager = {
        "id": "'api'",
        "state": "running",
        "task_type": None,
        "runner": "keeper",
        "thread": "keeper",
        "lineage": ["MainThread"],
        "loop": "Loop",
        "lag": 0.0004,
        "queued": 0,
        "tasks": [],
        "resources": [],
        "stack": [],
    }
    return {"pid": 7, "parent": 1, "python": "3.11.0", "managers": [manager | changes]}


def test_a_process_as_a_tree(process: Process, folder: Path) -> None:
    """One look shows the manager, its thread, its task, and the coroutines that this awaits."""
    with process() as server:
        done = inspect(server.pid, "--folder", folder)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"Process {server.pid} (started by {os.getpid()}), Python 3.")
    assert lines[1] == "└─ Manager with id 'api': running"
    assert any(line.startswith("   ├─ keeper: thread ") for line in lines)
    start = next(n for n, line in enumerate(lines) if "task waiting_for_ever: " in line)
    assert lines[start + 1].strip(" │").startswith("├─ waiting_for_ever (")
    assert lines[start + 2].strip(" │").startswith("├─ inner (")


def test_all_processes_of_a_folder_as_json(process: Process, folder: Path) -> None:
    """--all and --json give an array with each process, which the setting's folder has."""
    with process() as one, process() as other:
        done = inspect("--all", "--json", WSGI_ASYNC_INSPECT=str(folder))
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert {each["pid"] for each in found} == {one.pid, other.pid}
    assert [each["managers"][0]["id"] for each in found] == ["'api'", "'api'"]


def test_a_server_stands_for_its_workers(
    process: Process, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The id of a process without a socket shows those that it has started."""
    with process() as server:
        assert main([str(os.getpid()), "--folder", str(folder), "--json"]) == 0
    assert [one["pid"] for one in json.loads(capsys.readouterr().out)] == [server.pid]


def test_watching_goes_on_until_the_process_ends(process: Process, folder: Path) -> None:
    """--watch looks again and again, and ends with an error when the process is gone."""
    with process() as server:
        watch = Server(
            *("-m", "wsgi_async", "inspect", str(server.pid), "--watch", "0.1"),
            *("--folder", str(folder)),
        )
        with watch:
            watch.wait_for("^Process ", count=3)
            server.__exit__(None, None, None)
            assert watch.wait() == 1
            assert watch.find(f"(no process {server.pid}|ended while it answered)")


def test_watching_ends_with_an_answer_that_does_not_come(
    process: Process,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """--watch ends with status 1 when the process stands still, and shows that."""
    monkeypatch.setattr(reading, "_ANSWERING", 0.5)
    with process() as server:
        server.signal(signal.SIGSTOP)
        assert main([str(server.pid), "--folder", str(folder), "--watch"]) == 1
    assert f"Process {server.pid} does not answer." in capsys.readouterr().out


def test_ctrl_c_ends_watching(process: Process, folder: Path) -> None:
    """That is how --watch is meant to end: with status 0, and without a traceback."""
    with process() as server:
        watch = Server(
            *("-m", "wsgi_async", "inspect", str(server.pid), "--watch", "60"),
            *("--folder", str(folder)),
        )
        with watch:
            watch.wait_for("its thread|task ")
            watch.signal(signal.SIGINT)
            assert watch.wait() == 0
            assert "Traceback" not in watch.log


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["999999999"], "There is no process 999999999."),
        (["--all"], "No process has a socket. Start them with WSGI_ASYNC_INSPECT=1"),
        (["--all", "--folder", "/"], "/"),
    ],
)
def test_an_error_is_a_sentence(
    arguments: list[str], error: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What cannot be shown ends with status 1 and says what to do, without a traceback."""
    given = arguments if "--folder" in arguments else [*arguments, "--folder", str(folder)]
    assert main(given) == 1
    written = capsys.readouterr()
    assert error in written.err
    assert written.out == ""
    assert len(written.err.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [[], ["1", "--all"], ["0"], ["x"], ["1", "--watch", "0"], ["1", "--timeout", "nan"]],
    ids=" ".join,
)
def test_wrong_arguments(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """What makes no sense is refused with the usage, and status 2."""
    with pytest.raises(SystemExit) as error:
        main(arguments)
    assert error.value.code == 2
    assert "usage: python -m wsgi_async inspect" in capsys.readouterr().err


def test_the_list_of_commands(capsys: pytest.CaptureFixture[str]) -> None:
    """`python -m wsgi_async` names its commands."""
    with pytest.raises(SystemExit) as error:
        __main__.main([])
    assert error.value.code == 0
    assert "inspect" in capsys.readouterr().out


def test_names_cannot_control_the_terminal() -> None:
    """Escape sequences and line ends in a name are shown, not obeyed."""
    text = tree([Reply(7, snapshot(thread="bad\x1b[2J\nname", lineage=["a\u202eb"]))])
    assert r"bad\x1b[2J\nname" in text
    assert r"a\u202eb" in text


def test_a_terminal_without_unicode() -> None:
    """Where the terminal has only ASCII, so has the tree."""
    text = tree([Reply(7, snapshot(thread="thread-ü"))], encoding="ascii")
    assert text.isascii()
    assert "`- Manager with id 'api'" in text
    assert "400 us" in text


def test_a_loop_that_does_not_answer() -> None:
    """The tree shows where its thread is."""
    frame = {"function": "report", "file": "/app/shop/views.py", "line": 12}
    text = tree([Reply(7, snapshot(lag=None, stack=[frame], queued=3))])
    assert "lag: does not answer" in text
    assert "queued: 3" in text
    assert text.endswith("└─ its thread is here:\n      └─ report (shop/views.py:12)")


def test_a_task_type_and_resources() -> None:
    """The tree shows what the manager was started with, and what is open on it."""
    resource = {"name": "client", "state": "open"}
    text = tree([Reply(7, snapshot(task_type="'web'", resources=[resource]))])
    assert "Manager with id 'api': running, task type 'web'\n" in text
    assert text.endswith("└─ resource client: open")


def test_a_crowd_of_tasks_is_cut_short() -> None:
    """A terminal gets the first hundred, and how many there are."""
    task = {"name": "t", "request": "GET /x", "age": 2.0, "waiter": "w", "awaits": []}
    text = tree([Reply(7, snapshot(tasks=[task] * (SHOWN + 1500)))])
    assert text.count("task t: 2.0 s, for GET /x, thread 'w' waits for it") == SHOWN
    assert "1,500 more tasks, which --json shows" in text


def test_managers_that_are_not_started_and_none_at_all() -> None:
    """A manager without a loop has one line of its own; so has a process without managers."""
    stopped = snapshot(id=None, state="new", runner=None, lag=None, lineage=[])
    empty = take_snapshot() | {"managers": []}
    text = tree([Reply(7, stopped), Reply(8, empty), Reply(9, error="It is gone.")])
    assert "└─ Manager of a thread that has ended: new\n" in text
    assert text.endswith("└─ no managers\nIt is gone.")


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.00004, "40 µs"), (0.25, "250 ms"), (61, "61.0 s"), (600, "10 min"), (9000, "2.5 h")],
)
def test_durations(value: float, text: str) -> None:
    """A duration has the unit that suits it."""
    assert seconds(value) == text
