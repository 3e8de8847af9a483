"""The socket of this process, and the thread that answers on it.

Each process has its own socket, which is named after the process id. A forked child closes the
socket that it inherits, and opens its own when it starts a manager.
"""

from __future__ import annotations

import atexit
import os
import socket
import threading
from pathlib import Path

from wsgi_async.core.base.primitives import new_mutex, start_thread
from wsgi_async.core.managers.manager import on_start

from .answers import answer
from .folder import default_folders, folder_of, make_private

__all__ = ["close_inspector", "open_inspector", "switch_on"]

_LATER = 1.0
"""Seconds before the thread tries again to accept, and that `close()` waits for the thread."""


class _Socket:
    """The open socket. Lives until it is closed, or as long as the process.

    Args:
        folder: The private folder.
    """

    def __init__(self, folder: Path) -> None:
        # Never changes:
        self.pid = os.getpid()
        self.folder = folder
        self.path = folder / f"{self.pid}.sock"
        self._listener = _listen(self.path)
        self._closed = threading.Event()
        self._thread = start_thread(self._serve, "wsgi_async inspector")

    def _serve(self) -> None:
        while not self._closed.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:  # the socket was closed, or no descriptors are left
                self._closed.wait(_LATER)
                continue
            with connection:
                answer(connection)

    def close(self) -> None:
        """Remove the socket. From any thread except the socket's own."""
        self._closed.set()
        self.path.unlink(missing_ok=True)
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread
        self._thread.join(_LATER)  # the thread may be sending to a reader that does not read
        self._listener.close()

    def drop(self) -> None:
        """In a forked child: close the socket here. The parent keeps it, with its thread."""
        self._listener.close()


def _listen(path: Path) -> socket.socket:
    """Make a socket that listens before its path exists, so that each reader gets an answer."""
    early = path.with_suffix(".new")
    early.unlink(missing_ok=True)  # left by an earlier process with our id
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(str(early))
        early.chmod(0o600)
        listener.listen()
        early.replace(path)
    except BaseException:
        listener.close()
        early.unlink(missing_ok=True)
        raise
    return listener


class _State:
    """The open socket, and the folder for the children's. Lives as long as the process."""

    def __init__(self) -> None:
        # Guards all below. New in a forked child, because another thread may have held it.
        self.lock = new_mutex()
        self.folder: Path | None = None
        self.socket: _Socket | None = None


_state = _State()


def open_inspector(folder: str | os.PathLike[str] | None = None) -> Path:
    """Allow this process's user to inspect it, with `python -m wsgi_async inspect` and on the page.

    It opens a unix socket, and a daemon thread that answers each connection with a snapshot of all
    managers. A process that is forked from this one opens a socket of its own when its first
    manager starts. The socket is closed at the process's exit. From any thread.

    Args:
        folder: Where to put the socket. The folder is made if it does not exist. It must belong to
            the process's user, and nobody else may have access to it. With None it is
            `$XDG_RUNTIME_DIR/wsgi_async`, or `/tmp/wsgi_async-UID` where that variable is not set.

    Returns:
        The socket's path. A call while it is open returns the same path, or moves the socket if
        you name another folder.

    Raises:
        PermissionError: The folder is another user's, or others have access to it.
        OSError: The folder or the socket cannot be made.
    """
    wanted = default_folders()[0] if folder is None else Path(folder).absolute()
    _notice_fork()
    with _state.lock:
        if _state.socket is not None and _state.socket.folder == wanted:
            return _state.socket.path
        opened = _Socket(make_private(wanted))
        _close(_state.socket)
        _state.folder, _state.socket = wanted, opened
        return opened.path


def close_inspector() -> None:
    """Close this process's socket, if it is open."""
    _notice_fork()
    with _state.lock:
        _close(_state.socket)
        _state.folder = _state.socket = None


def switch_on(setting: str) -> None:
    """Open the socket in the folder that `WSGI_ASYNC_INSPECT` names, unless it is open."""
    _reopen()
    if _state.folder is None:
        open_inspector(folder_of(setting))


def _reopen() -> None:
    """Called when a manager starts: open the socket that a forked child may lack."""
    _notice_fork()
    folder = _state.folder
    if folder is not None and _state.socket is None:
        _state.folder = None  # if opening fails, the next manager does not try again
        open_inspector(folder)


def _close(opened: _Socket | None) -> None:
    if opened is not None:
        opened.close()


def _notice_fork() -> None:
    """Detect a fork by a server that forks in C, which may not have called the hook."""
    opened = _state.socket
    if opened is not None and opened.pid != os.getpid():  # pragma: no cover - needs a fork in C
        _in_child()


def _in_child() -> None:
    _state.lock = new_mutex()
    inherited, _state.socket = _state.socket, None
    if inherited is not None:
        inherited.drop()


os.register_at_fork(after_in_child=_in_child)
atexit.register(close_inspector)
on_start(_reopen)
