"""Ending streams because the process is about to leave."""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING, Any, Protocol

from wsgi_async.core.base.primitives import Primitives, start_thread

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["end_streams", "open_streams", "time_to_end"]


class _Stream(Protocol):
    live: Any

    def cut(self) -> None:
        """On the loop: end the stream."""


class _Streams:
    """The streams of the process. Lives as long as the process; callable from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the streams
        self._streams: weakref.WeakSet[_Stream] = weakref.WeakSet()
        # When all streams are to end. Written once; a reader that comes too early looks again.
        self.leave_at: float | None = None

    def add(self, stream: _Stream) -> None:
        with self._lock:
            self._streams.add(stream)

    def all(self) -> list[_Stream]:
        with self._lock:
            return list(self._streams)

    def reset(self) -> None:
        """In a forked child: the streams are the parent's, and so was its end."""
        self.__init__()  # type: ignore[misc]


open_streams = _Streams()


def time_to_end() -> bool:
    """Whether a stream ends now instead of making its next item."""
    leave_at = open_streams.leave_at
    return leave_at is not None and Primitives.clock() >= leave_at


def end_streams(after: float = 0.0) -> None:
    """End all open streams of this process: it is being stopped.

    A stream without an end would keep its thread, and so the server, from stopping in order. A
    stream that has an end can reach it until then. Streams end as if they were exhausted; their
    `finally` blocks run. From any thread, also in a signal handler.

    Args:
        after: Seconds from now.
    """
    open_streams.leave_at = Primitives.clock() + after
    start_thread(_cutter(after), "wsgi_async end of streams")


def _cutter(after: float) -> Callable[[], None]:
    def cut() -> None:
        threading.Event().wait(after)
        # Those that wait for an item; the others see it when they are asked for the next one.
        for stream in open_streams.all():
            if not stream.live.inherited:
                stream.live.post(stream.cut)

    return cut
