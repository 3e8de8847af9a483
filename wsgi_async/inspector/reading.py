"""Read the sockets of a folder: the answer of each process, or why it has none."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsgi_async.core import SyncFuture
from wsgi_async.core.base.primitives import start_thread

from .folder import default_folders, folder_of, private

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from wsgi_async.insight.snapshot import Snapshot

__all__ = ["Reply", "folders", "read_all", "read_all_elsewhere", "reply_from", "socket_files"]

_ANSWERING = 5.0
"""Seconds that all processes together have to answer."""


@dataclass(frozen=True)
class Reply:
    """The result of asking one process.

    Args:
        pid: The process id.
        snapshot: The answer; None if there is none.
        error: A sentence that explains why the process did not answer.
    """

    pid: int
    snapshot: Snapshot | None = None
    error: str = ""

    def plain(self) -> Any:
        """The data for JSON."""
        return {"pid": self.pid, "error": self.error} if self.snapshot is None else self.snapshot


def folders(folder: Path | None) -> list[Path]:
    """The folders to search: the given one, or else the setting's, or else the defaults.

    Raises:
        ValueError: The setting names no folder.
    """
    found = folder or folder_of(os.environ.get("WSGI_ASYNC_INSPECT") or "1")
    return default_folders() if found is None else [found]


def socket_files(paths: Iterable[Path]) -> dict[int, Path]:
    """The sockets in these folders, sorted by process id. Ended processes are included.

    Raises:
        PermissionError: A folder is not private.
    """
    found: dict[int, Path] = {}
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            found |= {int(one.stem): one for one in private(path).glob("*.sock") if _has_pid(one)}
    return dict(sorted(found.items()))


def _has_pid(path: Path) -> bool:
    return path.stem.isascii() and path.stem.isdigit()


def read_all(files: dict[int, Path]) -> list[Reply]:
    """Ask all processes at once. Removes sockets on which no process listens any more."""
    until = time.monotonic() + _ANSWERING
    asked = {pid: _connect(pid, path) for pid, path in files.items()}
    return [
        found if isinstance(found, Reply) else reply_from(pid, found, until)
        for pid, found in asked.items()
        if found is not None
    ]


def read_all_elsewhere(files: dict[int, Path]) -> list[Reply]:
    """As `read_all()`, but on a separate thread.

    If a loop lives on the calling thread, it runs meanwhile, and so can answer itself.
    """
    future: SyncFuture[list[Reply]] = SyncFuture()

    def read() -> None:
        try:
            future.set_result(read_all(files))
        except BaseException as error:
            future.set_exception(error)

    start_thread(read, "wsgi_async inspector page")
    return future.result()


def _connect(pid: int, path: Path) -> socket.socket | Reply | None:
    """Connect to a process; None if the process has ended."""
    connection = socket.socket(socket.AF_UNIX)
    # Do not block if too many readers wait for a process that stands still. That process will
    # not answer this reader either.
    connection.setblocking(False)
    try:
        connection.connect(str(path))
    except (ConnectionRefusedError, FileNotFoundError):
        connection.close()
        path.unlink(missing_ok=True)
        return None
    except OSError:  # BlockingIOError, or for example PermissionError
        connection.close()
        return _silent(pid)
    return connection


def reply_from(pid: int, connection: socket.socket, until: float) -> Reply:
    """Read a process's answer to its end, until a time of the monotonic clock.

    Args:
        pid: The process id.
        connection: The connection to the process. This function closes it.
        until: The time.
    """
    try:
        with connection:
            return _reply(pid, json.loads(b"".join(_pieces(connection, until))))
    except TimeoutError:
        return _silent(pid)
    except (OSError, ValueError):
        return Reply(pid, error=f"Process {pid} ended while it answered.")


def _silent(pid: int) -> Reply:
    sentence = f"Process {pid} does not answer. It is stopped, or busy in code that holds the GIL."
    return Reply(pid, error=sentence)


def _reply(pid: int, found: Any) -> Reply:
    if "error" in found:
        return Reply(pid, error=f"Process {pid} cannot tell: {found['error']}")
    return Reply(pid, found)


def _pieces(connection: socket.socket, until: float) -> Iterator[bytes]:
    while True:
        connection.settimeout(max(0.001, until - time.monotonic()))
        piece = connection.recv(1 << 16)
        if not piece:
            return
        yield piece
