"""Ending streams because the process is about to exit."""

from __future__ import annotations

import _thread
import time
import weakref
from typing import Any, Protocol

from wsgi_async.core.base.primitives import Primitives

__all__ = [
    "allow_streams",
    "end_streams",
    "open_streams",
    "time_to_end",
    "time_to_end_of_all",
]

_LATE = 1.0
"""Seconds for a stream that begins when the others have ended. Most streams end in that time."""


class _Stream(Protocol):
    live: Any
    opened: float  # when it was added, on `Primitives.clock`

    def cut(self) -> None:
        """On the loop: end the stream."""


_Open = weakref.WeakValueDictionary[int, _Stream]


class _Streams:
    """The streams of the process. Lives as long as the process; callable from any thread."""

    def __init__(self) -> None:
        # By the id of the stream. Single operations on it are thread-safe, and need no lock.
        self.open: _Open = weakref.WeakValueDictionary()
        # When all streams have to end. Readers check it repeatedly.
        self.leave_at: float | None = None

    def add(self, stream: _Stream) -> None:
        """Add a stream that begins now, in its consumer's thread."""
        stream.opened = Primitives.clock()
        self.open[id(stream)] = stream
        if time_to_end_of_all():
            stream.live.post(_cut_late, stream)  # the others have been cut already

    def reset(self) -> None:
        """In a forked child: the streams and the end time belong to the parent."""
        self.__init__()  # type: ignore[misc]


open_streams = _Streams()


def time_to_end_of_all() -> bool:
    """Whether the time of the streams is over that were open at `end_streams()`."""
    leave_at = open_streams.leave_at
    return leave_at is not None and Primitives.clock() >= leave_at


def time_to_end(stream: _Stream) -> bool:
    """Whether a stream ends now instead of making its next item."""
    leave_at = open_streams.leave_at
    if leave_at is None:
        return False
    if stream.opened >= leave_at:
        leave_at = stream.opened + _LATE
    return Primitives.clock() >= leave_at


def allow_streams() -> None:
    """Let streams go on from now: one of several servers of this process has stopped."""
    open_streams.leave_at = None


def end_streams(after: float = 0.0) -> None:
    """End all open streams of this process, because the process is being stopped.

    An endless stream would keep its thread, and so the server, from stopping in order. A finite
    stream has this time to reach its end. Streams end as if they were exhausted; their `finally`
    blocks run. A second call can only move the end earlier. A stream that begins after that time
    has one second of its own. From any thread, also in a signal handler.

    Args:
        after: Seconds from now.
    """
    leave_at, known = Primitives.clock() + after, open_streams.leave_at
    if known is not None and known <= leave_at:
        return
    open_streams.leave_at = leave_at
    streams = open_streams.open  # not the streams that are opened after a reset
    try:
        # Not `threading`: a signal handler may have interrupted code that holds its locks.
        _thread.start_new_thread(_cut_in, (after, streams))
    except RuntimeError:
        _cut(streams)  # no thread can be started: too early is better than never


def _cut_in(seconds: float, streams: _Open) -> None:
    time.sleep(max(0.0, seconds))
    _cut(streams)


def _cut_late(stream: _Stream) -> None:
    """On the loop: end a stream that has begun late, when its own time is over."""

    def cut() -> None:
        if open_streams.leave_at is not None:  # else streams are allowed again
            stream.cut()

    stream.live.later(_LATE, cut)


def _cut(streams: _Open) -> None:
    """End the streams that wait for an item. The others check the time before their next item."""
    leave_at = open_streams.leave_at
    if leave_at is None:
        return  # they are allowed again
    # Not values(): streams that are collected meanwhile would break its iteration.
    for reference in streams.valuerefs():
        stream = reference()
        # Else it has just been collected, belongs to the parent process, or has its own time.
        if stream is not None and not stream.live.inherited and stream.opened < leave_at:
            stream.live.post(stream.cut)
