"""`python -m wsgi_async inspect` for processes that have no socket."""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from tests.servers.process import Server, wait_until
from wsgi_async.inspector import remote
from wsgi_async.inspector.remote import CannotAskError, ask_remotely

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    Process = Callable[..., AbstractContextManager[Server]]

LIMIT = 20.0

needs_remote_exec = pytest.mark.skipif(
    not hasattr(sys, "remote_exec"), reason="sys.remote_exec is there from Python 3.14 on"
)


def _open_to_all(path: str) -> bool:
    """Whether every user can come to a folder."""
    folder = Path(path).resolve()
    return all(each.stat().st_mode & 0o005 == 0o005 for each in (folder, *folder.parents))


needs_another_user = pytest.mark.skipif(
    os.geteuid() != 0
    or not all(map(_open_to_all, (sys.base_prefix, sys.prefix, str(Path(remote.__file__).parent)))),
    reason="only root can become another user, who has to come to Python and to the package",
)

needs_quiet_children = pytest.mark.skipif(
    "COVERAGE_PROCESS_CONFIG" in os.environ,
    reason="coverage complains in a child that cannot write what it has measured",
)


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the command puts what it needs; nothing may stay there."""
    with tempfile.TemporaryDirectory(prefix="insp-", dir="/tmp") as path:
        monkeypatch.setattr(tempfile, "tempdir", path)
        yield Path(path)


@needs_remote_exec
def test_a_process_that_nobody_has_prepared(process: Process, temporary: Path) -> None:
    """A process without the setting shows the same, and nothing is left of the question."""
    with process(inspect="") as server:
        reply = ask_remotely(server.pid, LIMIT)
        again = ask_remotely(server.pid, LIMIT)
        assert server.log == "ready"
    assert reply.snapshot is not None
    (manager,) = reply.snapshot["managers"]
    assert [task["name"] for task in manager["tasks"]] == ["waiting_for_ever"]
    assert reply.snapshot["pid"] == server.pid
    assert again.snapshot is not None
    assert list(temporary.iterdir()) == []


@needs_remote_exec
def test_a_process_without_the_library(temporary: Path) -> None:
    """A Python process that does not use wsgi_async says that."""
    code = "import time\nprint('ready', flush=True)\nwhile True: time.sleep(0.01)"
    with Server("-c", code) as server:
        server.wait_for("^ready$")
        reply = ask_remotely(server.pid, LIMIT)
        assert "wsgi_async" not in server.log
    assert reply.error == f"Process {server.pid} cannot tell: it has not imported wsgi_async."
    assert list(temporary.iterdir()) == []


@needs_remote_exec
def test_a_main_thread_that_waits(process: Process, temporary: Path) -> None:
    """It is given up after the time; when the process comes to it, it cleans up in silence."""
    rest = "import signal\nsignal.signal(signal.SIGUSR1, lambda *_: None)\n"
    rest += "print('waits', flush=True)\nthreading.Event().wait()"
    with process(inspect="", rest=rest) as server:
        server.wait_for("^waits$")

        def ask() -> None:
            for _ in range(5):  # the first time it may be on its way to where it waits
                ask_remotely(server.pid, 0.5)

        with pytest.raises(CannotAskError, match=r"did not run anything for 0.5 s.*--timeout"):
            ask()
        assert len(list(temporary.iterdir())) == 1
        server.signal(signal.SIGUSR1)
        wait_until(lambda: not list(temporary.iterdir()), what="the script is gone")
        assert server.log == "ready\nwaits"


@needs_remote_exec
@pytest.mark.parametrize("option", ["-Xdisable-remote-debug", None], ids=["switched off", "sleep"])
def test_a_process_that_cannot_be_reached(option: str | None, temporary: Path) -> None:
    """One whose remote debugging is off, and one that is not Python, are told with a way out."""
    with contextlib.ExitStack() as stack:
        if option is None:
            server = stack.enter_context(Server("60", program="sleep"))
        else:
            code = "import time\nprint('ready', flush=True)\ntime.sleep(60)"
            server = stack.enter_context(Server(option, "-c", code))
            server.wait_for("^ready$")
        with pytest.raises(CannotAskError, match=r"cannot be reached: .*WSGI_ASYNC_INSPECT=1"):
            ask_remotely(server.pid, LIMIT)
    assert list(temporary.iterdir()) == []


@needs_remote_exec
@needs_another_user
@needs_quiet_children
def test_another_users_process(process: Process) -> None:
    """Whoever may not look into a process learns as which user to try."""
    with process(inspect="") as server:
        code = (
            "import os, sys\nos.setgid(65534)\nos.setuid(65534)\n"
            "from wsgi_async.inspector.command import main\n"
            f"sys.exit(main(['{server.pid}', '--folder', '/tmp/none']))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
            env={**os.environ, "PYTHONPATH": str(Path(remote.__file__).parents[2])},
        )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (f"Process {server.pid} is another user's. Run this command as root.\n")


@needs_remote_exec
@needs_another_user
def test_root_looks_into_another_users_process(process: Process) -> None:
    """Root gets the snapshot of a process that runs as somebody else."""
    rest = "import os\nos.setgid(65534)\nos.setuid(65534)\nprint('changed', flush=True)\n"
    rest += "while True: threading.Event().wait(0.01)"
    with process(inspect="", rest=rest) as server:
        server.wait_for("^changed$")
        assert ask_remotely(server.pid, LIMIT).snapshot is not None


def test_tracing_that_the_system_forbids(monkeypatch: pytest.MonkeyPatch, temporary: Path) -> None:
    """The error for a process of one's own names the system's settings."""

    def refuse(pid: int, script: str) -> None:
        raise PermissionError("Operation not permitted")

    monkeypatch.setattr(sys, "remote_exec", refuse, raising=False)
    with pytest.raises(CannotAskError, match=r"ptrace_scope.*WSGI_ASYNC_INSPECT=1"):
        ask_remotely(os.getpid(), 1)
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("known", [True, False])
def test_a_process_that_may_not_be_touched(
    monkeypatch: pytest.MonkeyPatch, temporary: Path, known: bool
) -> None:
    """The error names the user who may, or their id where the system has no name for it."""

    def refuse(*_: object) -> None:
        raise PermissionError("Operation not permitted")

    def name_of(user: int) -> SimpleNamespace:
        if not known:
            raise KeyError(user)
        return SimpleNamespace(pw_name="shop")

    owner = os.geteuid()
    monkeypatch.setattr(os, "kill", refuse)
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    monkeypatch.setattr(pwd, "getpwuid", name_of)
    monkeypatch.setattr(sys, "remote_exec", refuse, raising=False)
    user = "shop" if known else f"user {owner}"
    with pytest.raises(CannotAskError, match=f"another user's. Run this command as {user}."):
        ask_remotely(os.getpid(), 1)
    assert list(temporary.iterdir()) == []


def test_an_older_python(monkeypatch: pytest.MonkeyPatch, temporary: Path) -> None:
    """Where Python cannot do it, the error names the setting and the version."""
    monkeypatch.delattr(sys, "remote_exec", raising=False)
    with pytest.raises(CannotAskError, match=r"WSGI_ASYNC_INSPECT=1.*Python 3\.14"):
        ask_remotely(os.getpid(), 1)
    assert list(temporary.iterdir()) == []


def test_nobody_else_can_answer(monkeypatch: pytest.MonkeyPatch, temporary: Path) -> None:
    """What another process sends to the socket is not taken for the answer."""
    impostor = "import socket, sys\nsocket.socket(socket.AF_UNIX).connect(sys.argv[1])"

    def execute(pid: int, script: str) -> None:
        path = Path(script).with_name("socket")
        subprocess.run([sys.executable, "-c", impostor, str(path)], check=True, timeout=LIMIT)

    monkeypatch.setattr(sys, "remote_exec", execute, raising=False)
    with pytest.raises(CannotAskError, match="did not run anything"):
        ask_remotely(os.getpid(), 1)
