"""The parts of a response, on their way from an ASGI app to a WSGI server."""

from __future__ import annotations

import errno
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple, NoReturn, cast
from wsgiref.util import is_hop_by_hop

if TYPE_CHECKING:
    from .middleware import Message

__all__ = ["ClientDisconnected", "Head", "Part", "head_of", "raise_for_server", "told_of_it"]

_REASONS = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}


class ClientDisconnected(ConnectionResetError):
    """Raised by the app's `send()` when the client has gone; servers see a broken connection."""

    def __init__(self) -> None:
        super().__init__(errno.ECONNRESET, "The client has gone")


class Head(NamedTuple):
    """A response's status line and headers, for `start_response()`."""

    status: str
    headers: list[tuple[str, str]]

    @property
    def sized(self) -> bool:
        """Whether the response tells its length."""
        return any(name.lower() == "content-length" for name, _ in self.headers)


class Part(NamedTuple):
    """A part of a response, on its way to the server."""

    head: Head | None
    """Only the first part has one."""
    body: bytes
    last: bool


def head_of(message: Message) -> Head:
    """The status line and headers of a message that starts a response, as WSGI takes them."""
    status = message["status"]
    headers = [
        (bytes(name).decode("latin-1"), bytes(value).decode("latin-1"))
        for name, value in message.get("headers", ())
    ]
    return Head(
        _REASONS.get(status) or f"{status:d} Unknown",
        # Hop-by-hop headers belong to the server.
        [header for header in headers if not is_hop_by_hop(header[0])],
    )


def raise_for_server(error: BaseException, what: str) -> NoReturn:
    """Raise an error that has ended the app, so that the server logs it.

    Servers take an `OSError` for a connection that the client has closed, and log nothing.
    """
    try:
        if isinstance(error, OSError) and not told_of_it(error):
            raise RuntimeError(f"{what}: {error}") from error
        raise error
    finally:
        del error  # the traceback holds this frame: avoid a cycle


def told_of_it(error: BaseException) -> bool:
    """Whether an error, or what caused it, says that the client has gone."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ClientDisconnected):
            return True
        if isinstance(seen, BaseExceptionGroup):
            group = cast("BaseExceptionGroup[BaseException]", seen)
            return all(told_of_it(each) for each in group.exceptions)
        seen = seen.__cause__ or seen.__context__
    return False
