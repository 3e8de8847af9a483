"""Ending streams because the process is about to exit."""

from __future__ import annotations

import _thread
import time
import weakref
from typing import Any, Protocol

from wsgi_async.core.base.primitives import Primitives

__all__ = ["end_streams", "open_streams", "time_to_end"]


class _Stream(Protocol):
    live: Any

    def cut(self) -> None:
        """On the loop: end the stream."""


_Open = weakref.WeakValueDictionary[int, _Stream]


class _Streams:
    """The streams of the process. Lives as long as the process; callable from any thread."""

    def __init__(self) -> None:
        # By the id of the stream. Single operations on it are thread-safe, and need no lock.
        self.open: _Open = weakref.WeakValueDictionary()
        # When all streams have to end. It only moves earlier. Readers check it repeatedly.
        self.leave_at: float | None = None

    def add(self, stream: _Stream) -> None:
        self.open[id(stream)] = stream

    def reset(self) -> None:
        """In a forked child: the streams and the end time belong to the parent."""
        self.__init__()  # type: ignore[misc]


open_streams = _Streams()


def time_to_end() -> bool:
    """Whether a stream ends now instead of making its next item."""
    leave_at = open_streams.leave_at
    return leave_at is not None and Primitives.clock() >= leave_at


def end_streams(after: float = 0.0) -> None:
    """End all open streams of this process, because the process is being stopped.

    An endless stream would keep its thread, and so the server, from stopping in order. A finite
    stream has this time to reach its end. Streams end as if they were exhausted; their `finally`
    blocks run. A second call can only move the end earlier. From any thread, also in a signal
    handler.

    Args:
        after: Seconds from now.
    """
    leave_at = Primitives.clock() + after
    if open_streams.leave_at is not None and open_streams.leave_at <= leave_at:
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


def _cut(streams: _Open) -> None:
    """End the streams that wait for an item. The others check the time before their next item."""
    # Not values(): streams that are collected meanwhile would break its iteration.
    for reference in streams.valuerefs():
        stream = reference()
        # Else it has just been collected, or belongs to the parent process.
        if stream is not None and not stream.live.inherited:  # pragma: no branch
            stream.live.post(stream.cut)
