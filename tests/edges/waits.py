"""Where a request blocks: seen by a profiler, so that a busy machine does not change the answer."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import FrameType

BLOCKING = {"acquire", "join", "poll", "recv", "select", "sleep", "wait"}
"""Names of the functions in C that may wait: those of locks and selectors, and `time.sleep`.

A `with` of a lock is not among them: it waits for a few lines of another thread.
"""

OWN_LOOP = "wsgi_async.core.runners.run:complete"
"""Waits for a coroutine on the thread's own loop, if the loop is not done already."""

LOCK = "wsgi_async.core.base.primitives:_enter"
"""The `with` of a lock, on Python 3.14, where it is a function of ours."""


class Waits:
    """Notes where the current thread waits for anything but its own coroutines.

    Each place is the chain of the package's functions that led there, the outermost first.
    """

    def __init__(self) -> None:
        self.places: set[tuple[str, ...]] = set()

    def __enter__(self) -> Self:
        sys.setprofile(self._note)
        return self

    def __exit__(self, *exc_info: object) -> None:
        sys.setprofile(None)

    def _note(self, frame: FrameType, event: str, what: Any) -> None:
        if event == "c_call" and what.__name__ in BLOCKING:
            place = _chain(frame)
            if place and OWN_LOOP not in place and place[-1] != LOCK:
                self.places.add(place)


def _chain(frame: FrameType | None) -> tuple[str, ...]:
    names: list[str] = []
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module.partition(".")[0] == "wsgi_async":
            names.append(f"{module}:{frame.f_code.co_qualname}")
        frame = frame.f_back
    return tuple(reversed(names))
