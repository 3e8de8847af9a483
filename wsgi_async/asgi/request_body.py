"""The request's body, read piece by piece from the WSGI server's input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["RequestBody"]

MOST = 256 * 1024
"""The most bytes of a piece."""
BLOCK = 64 * 1024
"""The most bytes of a piece if a read waits until it has all of them."""


class RequestBody:
    """A request's body. Lives as long as the request; only its thread calls `read()`.

    Args:
        environ: The request's environ.
    """

    def __init__(self, environ: Mapping[str, Any]) -> None:
        self._input = environ.get("wsgi.input")
        length = environ.get("CONTENT_LENGTH") or None
        # How many bytes are left, if the client sent a length. The server ends a chunked body.
        self._left: int | None = None
        if length is not None or not environ.get("wsgi.input_terminated"):
            # Some servers pass on what a client sends. It has no body then.
            told = (length or "").strip()
            self._left = int(told) if told.isdecimal() else 0
        # No lock: the thread writes it before it hands a piece over; the loop reads it afterwards.
        self.more = self._input is not None and self._left != 0

    def read(self) -> bytes | None:
        """Wait for the next piece; None if the client has gone before the end.

        Raises:
            Exception: The server raised it, except for a broken connection.
        """
        try:
            piece = self._piece()
        except OSError:
            piece = b""
            self._left = self._left or 1
        if self._left is None:
            self.more = bool(piece)
            return piece
        self._left -= len(piece)
        self.more = bool(piece) and self._left > 0
        return piece or None

    def _piece(self) -> bytes:
        source: Any = self._input
        if _is_gunicorns(source):
            return _from_gunicorn(source, MOST)
        read1: Callable[[int], bytes] | None = getattr(source, "read1", None)
        most = MOST if read1 is not None else BLOCK
        if self._left is not None:
            most = min(most, self._left)
        return (read1 or source.read)(most)


def _is_gunicorns(source: Any) -> bool:
    """Whether it is gunicorn's body, whose own `read()` waits for at least a kilobyte."""
    return (
        type(source).__module__ == "gunicorn.http.body"
        and hasattr(source, "reader")
        and (hasattr(source.reader, "buf") or hasattr(source.reader, "unreader"))
        and source.buf.tell() == 0  # else other code has begun to read it
    )


def _from_gunicorn(body: Any, most: int) -> bytes:
    """The bytes that have arrived so far. Blocks only until there is one byte."""
    reader = body.reader
    try:
        first: bytes = reader.read(1)
        # Bytes received with it are in the buffer of the reader, or of the reader's source.
        buffer = getattr(reader, "buf", None) or reader.unreader.buf
        waiting: int = min(buffer.tell(), most - 1)
        rest: bytes = reader.read(waiting) if first and waiting else b""
    except Exception:
        body.failed = True  # as its own read() does: the start of the next request is unknown
        raise
    return first + rest
