"""The socket: who can open it, and when it is there."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.servers.process import LIMIT, THREADED, Server, gunicorn, run_script
from wsgi_async.inspector import close_inspector, open_inspector, reading
from wsgi_async.inspector.answers import answer
from wsgi_async.inspector.folder import default_folders
from wsgi_async.inspector.reading import read_all, socket_files

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    Process = Callable[..., AbstractContextManager[Server]]


def pids(folder: Path) -> list[int]:
    """The processes that answer."""
    return [reply.pid for reply in read_all(socket_files([folder])) if reply.snapshot]


def test_each_connection_is_answered(folder: Path) -> None:
    """A socket that code opens answers every connection with one snapshot as JSON."""
    path = open_inspector(folder)
    assert path == folder / f"{os.getpid()}.sock"
    for _ in range(2):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(LIMIT)
            connection.connect(str(path))
            with connection.makefile() as answer:
                assert json.load(answer)["pid"] == os.getpid()


def test_a_reader_that_leaves_does_no_harm(folder: Path) -> None:
    """After one that has gone before its answer, the next one is answered."""
    path = open_inspector(folder)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
    assert pids(folder) == [os.getpid()]


def test_an_answer_to_nobody() -> None:
    """A reader may disconnect before it gets its answer. That is not an error."""
    ours, readers = socket.socketpair()
    readers.close()
    with ours:
        answer(ours)


def test_an_answer_ends_whoever_else_holds_the_connection() -> None:
    """A child that is forked during an answer has the connection too, and keeps no reader."""
    ours, readers = socket.socketpair()
    with ours, ours.dup(), readers, readers.makefile() as text:
        readers.settimeout(LIMIT)
        answer(ours)
        assert json.load(text)["pid"] == os.getpid()


def test_it_is_closed_and_opened_again(folder: Path) -> None:
    """A socket that is closed is gone, and can be opened elsewhere."""
    assert open_inspector(folder) == open_inspector(folder)
    moved = open_inspector(folder / "other")
    assert [path.name for path in folder.iterdir()] == ["other"]
    assert moved.exists()
    close_inspector()
    close_inspector()
    assert not moved.exists()


def test_nobody_else_can_open_it(folder: Path) -> None:
    """Folder and socket are for their user alone, whatever the umask is."""
    before = os.umask(0)
    try:
        path = open_inspector(folder / "new")
    finally:
        os.umask(before)
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_folder_that_others_can_open_is_refused(folder: Path) -> None:
    """The error names the folder, and the command that closes it."""
    folder.chmod(0o750)
    with pytest.raises(PermissionError, match=f"chmod 700 {folder}"):
        open_inspector(folder)
    with pytest.raises(PermissionError, match=f"chmod 700 {folder}"):
        socket_files([folder])


def test_a_folder_of_another_user_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has made the folder first, in /tmp, gets no socket into it."""
    owner = folder.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(PermissionError, match="belongs to another user"):
        open_inspector(folder)


def test_a_link_to_a_folder_is_refused(folder: Path) -> None:
    """A symbolic link may lead elsewhere a moment later."""
    (folder / "real").mkdir(mode=0o700)
    (folder / "link").symlink_to(folder / "real")
    with pytest.raises(NotADirectoryError, match="symbolic link"):
        open_inspector(folder / "link")


def test_a_socket_whose_place_is_taken(folder: Path) -> None:
    """A socket that cannot be put there is an error, and nothing is left of the attempt."""
    taken = folder / f"{os.getpid()}.sock"
    taken.mkdir()
    with pytest.raises(IsADirectoryError):
        open_inspector(folder)
    assert list(folder.iterdir()) == [taken]


def test_the_default_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's runtime folder comes first; without one it is a folder in /tmp."""
    fallback = Path(f"/tmp/wsgi_async-{os.geteuid()}")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    assert default_folders() == [Path("/run/user/7/wsgi_async"), fallback]
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert default_folders() == [fallback]


def test_the_setting_opens_it(process: Process, folder: Path) -> None:
    """With WSGI_ASYNC_INSPECT a process has a socket from its first manager to its exit."""
    with process(rest="sys.exit()") as server:
        assert server.wait() == 0
        assert server.log == "ready"
    assert list(folder.iterdir()) == []
    with process() as server:
        assert pids(folder) == [server.pid]


def test_nothing_is_imported_without_the_setting() -> None:
    """A manager starts, and neither the inspector nor the snapshot is loaded."""
    code = (
        "import sys, threading\n"
        "from wsgi_async import AsyncioLoopManager\n"
        "with AsyncioLoopManager(): print(len(threading.enumerate()))\n"
        "print([name for name in sys.modules if 'inspector' in name or 'snapshot' in name])"
    )
    assert run_script(code) == "2\n[]\n"


@pytest.mark.parametrize("setting", ["relative/folder", "/nowhere/at/all"])
def test_a_setting_that_cannot_be_used_is_logged_once(process: Process, setting: str) -> None:
    """The app continues to work, and the log tells why there is no socket."""
    rest = "with AsyncioLoopManager(): print('works')"
    with process(inspect=setting, rest=rest) as server:
        assert server.wait() == 0
        assert server.find("^works$")
        assert len(server.find(f"^WSGI_ASYNC_INSPECT={setting} has no effect: ")) == 1


def test_zero_switches_it_off(process: Process) -> None:
    """With 0 it is as if the variable was not set."""
    with process(inspect="0", rest="print('inspector', 'wsgi_async.inspector' in sys.modules)") as (
        server
    ):
        assert server.wait() == 0
        assert server.find("^inspector False$")


def test_a_forked_child_has_its_own(process: Process, folder: Path) -> None:
    """After a fork the parent's socket stays the parent's; the child opens one with a manager."""
    rest = """
import os
child = os.fork()
if not child:
    with AsyncioLoopManager("child"):
        print("child", os.getpid(), flush=True)
        threading.Event().wait()
print("parent", flush=True)
threading.Event().wait()
"""
    with process(rest=rest) as server:
        child = int(server.wait_for(r"^child (\d+)$")[1])
        server.wait_for("^parent$")
        replies = read_all(socket_files([folder]))
        found = {
            reply.pid: [one["id"] for one in reply.snapshot["managers"]]
            for reply in replies
            if reply.snapshot
        }
        assert found == {server.pid: ["'api'"], child: ["'child'"]}
        server.signal(signal.SIGKILL, child)


def test_a_child_that_can_have_none_works_without(process: Process, folder: Path) -> None:
    """Its managers start as if the inspector was off, and the log tells why, once."""
    rest = """
import os, shutil
from wsgi_async.inspector import open_inspector
if opened_by_hand:
    os.environ.pop("WSGI_ASYNC_INSPECT")
shutil.rmtree(folder)
open(folder, "w").close()
child = os.fork()
if not child:
    for number in range(2):
        with AsyncioLoopManager(number) as manager:
            print("works", manager.run(asyncio.sleep(0, number)), flush=True)
    os._exit(0)
os.waitpid(child, 0)
os._exit(0)
"""
    for by_hand in (False, True):
        start = f"import asyncio\nopened_by_hand, folder = {by_hand}, {str(folder)!r}\n"
        with process(rest=start + rest) as server:
            assert server.wait() == 0
            assert [found[1] for found in server.find(r"^works (\d)$")] == ["0", "1"]
            assert len(server.find("has no effect|a start hook failed")) == 1
        folder.unlink()
        folder.mkdir()


def test_the_end_of_a_child_leaves_the_parents(process: Process, folder: Path) -> None:
    """A child that exits, with the exit hooks that it inherits, does not take the socket away."""
    rest = """
import os
child = os.fork()
if not child:
    sys.exit()
os.waitpid(child, 0)
print("gone", flush=True)
threading.Event().wait()
"""
    with process(rest=rest) as server:
        server.wait_for("^gone$")
        assert pids(folder) == [server.pid]


@pytest.mark.gunicorn
@pytest.mark.parametrize("worker_class", THREADED.values(), ids=THREADED)
def test_workers_come_and_go(folder: Path, worker_class: str) -> None:
    """Under --preload the server and its worker have a socket each, and both take it away."""
    setting = {"WSGI_ASYNC_INSPECT": str(folder)}
    options = ("--preload", "--workers", "1", "--threads", "2")
    app = "tests.inspector.served:app"
    with gunicorn(app, *options, worker_class=worker_class, **setting) as server:
        assert server.request("/more")[0].status == 200
        parents = {
            reply.pid: reply.snapshot["parent"]
            for reply in read_all(socket_files([folder]))
            if reply.snapshot
        }
        assert len(parents) == 2
        (worker,) = parents.keys() - {server.pid}
        assert parents[worker] == server.pid
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        assert list(folder.iterdir()) == []


def test_what_a_killed_process_leaves_is_removed(process: Process, folder: Path) -> None:
    """The next look takes the socket of a killed process away."""
    with process() as server:
        server.signal(signal.SIGKILL)
        server.wait()
    assert len(list(folder.iterdir())) == 1
    assert pids(folder) == []
    assert list(folder.iterdir()) == []


def test_a_process_that_stands_still_is_named(
    process: Process, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is stopped does not keep the others' answers from you."""
    monkeypatch.setattr(reading, "_ANSWERING", 2.0)
    with process() as one, process() as other:
        one.signal(signal.SIGSTOP)
        replies = {reply.pid: reply for reply in read_all(socket_files([folder]))}
    assert replies[other.pid].snapshot
    assert f"Process {one.pid} does not answer" in replies[one.pid].error


def test_a_process_that_too_many_ask(folder: Path) -> None:
    """One that accepts no more connections does not answer, and its socket stays."""
    path = folder / "7.sock"
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(str(path))
        listener.listen(0)
        with contextlib.suppress(BlockingIOError):
            while True:
                waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
                waiting.setblocking(False)
                waiting.connect(str(path))
        (reply,) = read_all({7: path})
    assert reply.error.startswith("Process 7 does not answer.")
    assert path.exists()


@pytest.mark.parametrize("sent", [b"", b'{"pid": 7, "man'])
def test_a_process_that_ends_while_it_answers(sent: bytes) -> None:
    """A part of an answer is told from a whole one."""
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.sendall(sent)
    reply = reading.reply_from(7, ours, time.monotonic() + LIMIT)
    assert (reply.snapshot, reply.error) == (None, "Process 7 ended while it answered.")


def test_a_snapshot_that_fails_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader learns what went wrong, and the thread answers on."""
    from wsgi_async.inspector import answers

    def fail() -> None:
        raise RuntimeError("no snapshot today")

    open_inspector(folder)
    with monkeypatch.context() as patched:
        patched.setattr(answers, "take_snapshot", fail)
        (reply,) = read_all(socket_files([folder]))
        assert "no snapshot today" in reply.error
    assert pids(folder) == [os.getpid()]
