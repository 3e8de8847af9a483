"""Ask a process that has no socket, through `sys.remote_exec()` of Python 3.14 and later.

The process's main thread runs a script of ours between two instructions. The script only starts a
thread, which sends the snapshot to a socket of this process.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import struct
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .reading import reply_from

if TYPE_CHECKING:
    from collections.abc import Generator

    from .reading import Reply

__all__ = ["CannotAskError", "ask_remotely"]

_SETTING = "Or start it with WSGI_ASYNC_INSPECT=1."

# The script does very little on the main thread, which may be anywhere and may hold any lock.
_SCRIPT = """
def start(path, script):
    import _thread

    def run():
        import json, os, socket, sys

        with socket.socket(socket.AF_UNIX) as connection:
            try:
                connection.connect(path)
            except OSError:  # it took too long, and nobody waits
                os.unlink(path)
                os.unlink(script)
                os.rmdir(os.path.dirname(script))
                return
            try:
                if "wsgi_async" not in sys.modules:
                    raise ImportError("it has not imported wsgi_async.")
                from wsgi_async.inspector.answers import answer
            except Exception as error:
                connection.sendall(json.dumps({"error": str(error)}).encode())
            else:
                answer(connection)

    def run_silently():
        try:
            run()
        except OSError:
            pass

    _thread.start_new_thread(run_silently, ())
"""


class CannotAskError(Exception):
    """A process cannot be asked. The message says why, and what to do.

    Args:
        message: The message.
        nothing_runs: Whether the process will certainly not run our script.
    """

    def __init__(self, message: str, *, nothing_runs: bool = False) -> None:
        super().__init__(message)
        self.nothing_runs = nothing_runs


def ask_remotely(pid: int, seconds: float) -> Reply:
    """Make a process run our script, and wait for its answer.

    Args:
        pid: The process id.
        seconds: How long to wait.

    Raises:
        CannotAskError: The process cannot be asked, or did not answer.
    """
    owner = _owner(pid)
    with _meeting_point(owner) as (folder, listener):
        script = folder / "ask.py"
        script.write_text(f"{_SCRIPT}\nstart({str(folder / 'socket')!r}, {str(script)!r})\n")
        script.chmod(0o644)  # other users cannot list the folder
        with _explained(pid, owner):
            _execute(pid, script)
        until = time.monotonic() + seconds
        try:
            reply = reply_from(pid, _accept(pid, listener, until), until)
        except TimeoutError:
            # Leave the script. The process would complain if it were missing, and removes it.
            raise CannotAskError(
                f"The main thread of process {pid} did not run anything for {seconds:g} s: it "
                f"waits in the operating system. Wait longer with --timeout. {_SETTING}"
            ) from None
        shutil.rmtree(folder)
        return reply


def _owner(pid: int) -> int:
    """The id of the user who owns a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        raise CannotAskError(f"There is no process {pid}.") from None
    except PermissionError:
        pass
    try:
        return Path(f"/proc/{pid}").stat().st_uid
    except OSError:  # pragma: no cover - the process ends at this very moment
        return os.geteuid()


@contextlib.contextmanager
def _meeting_point(owner: int) -> Generator[tuple[Path, socket.socket], None, None]:
    """A folder with a socket in it to which only the process's owner can connect."""
    folder = Path(tempfile.mkdtemp(prefix="wsgi_async-"))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "socket"))
        listener.listen()
        if owner != os.geteuid() == 0:
            # The socket belongs to the owner alone, who can enter the folder but not list it.
            os.chown(folder / "socket", owner, -1)
            folder.chmod(0o711)
        try:
            yield folder, listener
        except CannotAskError as error:
            if error.nothing_runs:
                shutil.rmtree(folder)
            raise


@contextlib.contextmanager
def _explained(pid: int, owner: int) -> Generator[None, None, None]:
    """Turn Python's error about an unreachable process into a sentence with advice."""
    try:
        yield
    except PermissionError:
        raise CannotAskError(_not_permitted(pid, owner), nothing_runs=True) from None
    except (OSError, RuntimeError) as error:
        raise CannotAskError(
            f"Process {pid} cannot be reached: {error}. It must run Python "
            f"{sys.version_info.major}.{sys.version_info.minor} too, with remote debugging on. "
            f"{_SETTING}",
            nothing_runs=True,
        ) from None


def _not_permitted(pid: int, owner: int) -> str:
    if owner != os.geteuid():
        return f"Process {pid} is another user's. Run this command as {_name(owner)}."
    return (
        f"The system does not let you trace process {pid}. Run this command as root, give it the "
        f"capability SYS_PTRACE, or set kernel.yama.ptrace_scope to 0. {_SETTING}"
    )


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"user {user}"


def _execute(pid: int, script: Path) -> None:
    execute: Any = getattr(sys, "remote_exec", None)
    if execute is None:
        raise CannotAskError(
            f"Process {pid} has no socket. Start it with WSGI_ASYNC_INSPECT=1. Without that, both "
            "it and this command need Python 3.14 or later.",
            nothing_runs=True,
        )
    execute(pid, str(script))


def _accept(pid: int, listener: socket.socket, until: float) -> socket.socket:
    """The connection of a process. Connections of other processes are closed.

    Raises:
        TimeoutError: The process has not connected in time.
    """
    while True:
        listener.settimeout(max(0.001, until - time.monotonic()))
        connection, _ = listener.accept()
        if _peer(connection) == pid:
            return connection
        connection.close()


def _peer(connection: socket.socket) -> int:
    """The id of the process at the other end."""
    size = struct.calcsize("3i")
    found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    return int(struct.unpack("3i", found)[0])
