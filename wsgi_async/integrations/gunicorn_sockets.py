"""gunicorn's sockets, without the system calls that change nothing."""

from __future__ import annotations

import socket
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LazySocket", "use_lazy_socket"]

M = TypeVar("M", bound="Callable[..., Any]")


def use_lazy_socket(conn: Any) -> None:
    """Replace the socket of a new connection, unless it uses TLS.

    Args:
        conn: gunicorn's connection. Once it is initialized, its parser has the socket too.
    """
    if type(conn.sock) is socket.socket and not (conn.initialized or conn.cfg.is_ssl):
        conn.sock = LazySocket.take(conn.sock)


def _at_last(method: M) -> M:
    """Set the timeout before a method that it applies to."""

    @wraps(method)
    def settle_and_call(self: LazySocket, /, *args: Any, **kwargs: Any) -> Any:
        self.settle()
        return method(self, *args, **kwargs)

    return cast("M", settle_and_call)


class LazySocket(socket.socket):
    """A socket whose timeout is set when the socket is used the next time.

    gunicorn changes it up to five times for each request, to wait for the request and to discard
    the rest of a body, even if there is none. Each change takes a system call that releases the
    GIL, and other threads take it. Without these calls a `LoopThreadWorker` with eight busy threads
    answered 7 to 11 % more small requests.

    Code that uses the descriptor itself, by `fileno()`, sees the timeout of the last use. Lives as
    long as the connection. One thread at a time uses it.

    Args:
        *args: As for a plain socket.
        **kwargs: Likewise.
    """

    __slots__ = ("_wanted",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # No lock: for the thread that serves the connection, or between requests the main thread.
        self._wanted = super().gettimeout()

    @classmethod
    def take(cls, sock: socket.socket) -> LazySocket:
        """Make one of a plain socket, which is detached."""
        timeout = sock.gettimeout()
        lazy = cls(sock.family, sock.type, sock.proto, sock.detach())
        # The descriptor has the mode of the old socket, which the new one does not know.
        socket.socket.settimeout(lazy, timeout)
        lazy.settimeout(timeout)
        return lazy

    def settle(self) -> None:
        """Set the timeout now, if it has changed."""
        if super().gettimeout() != self._wanted:
            super().settimeout(self._wanted)

    def settimeout(self, value: float | None, /) -> None:
        """As of a plain socket, but later.

        Raises:
            TypeError: It is not a number of seconds.
            ValueError: It is negative.
        """
        if value is not None and value < 0:
            raise ValueError("Timeout value out of range")
        self._wanted = value

    def setblocking(self, flag: bool, /) -> None:
        """As of a plain socket, but later."""
        self._wanted = None if flag else 0.0

    def gettimeout(self) -> float | None:
        """As of a plain socket."""
        return self._wanted

    timeout = property(gettimeout)  # pyright: ignore[reportIncompatibleMethodOverride]

    def getblocking(self) -> bool:
        """As of a plain socket."""
        return self._wanted != 0

    accept = _at_last(socket.socket.accept)
    connect = _at_last(socket.socket.connect)
    connect_ex = _at_last(socket.socket.connect_ex)
    detach = _at_last(socket.socket.detach)
    recv = _at_last(socket.socket.recv)
    recv_into = _at_last(socket.socket.recv_into)
    recvfrom = _at_last(socket.socket.recvfrom)
    recvfrom_into = _at_last(socket.socket.recvfrom_into)
    recvmsg = _at_last(socket.socket.recvmsg)
    recvmsg_into = _at_last(socket.socket.recvmsg_into)
    send = _at_last(socket.socket.send)
    sendall = _at_last(socket.socket.sendall)
    sendfile = _at_last(socket.socket.sendfile)
    sendmsg = _at_last(socket.socket.sendmsg)
    sendto = _at_last(socket.socket.sendto)
