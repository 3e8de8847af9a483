"""Functions that a coroutine has a blocked thread run."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from wsgi_async.core.base.primitives import new_mutex

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Inbox"]


class Inbox:
    """What one thread runs while it waits. Lives as long as the wait, or as what waits.

    `put()` may be called from any thread; the thread that waits calls the rest.

    Args:
        wake: Wakes that thread; takes no lock. None as long as it does not wait.
    """

    def __init__(self, wake: Callable[[], None] | None = None) -> None:
        # Never changes. Its thread can take it again: a destructor may come here.
        self._mutex = new_mutex()
        # Guarded by `Inbox._mutex`:
        self._calls: deque[Callable[[], None]] = deque()
        self._closed = False
        self._wake = wake

    def put(self, call: Callable[[], None]) -> bool:
        """Line a function up; False if nobody will run it. It must not raise."""
        with self._mutex:
            if self._closed:
                return False
            self._calls.append(call)
            wake = self._wake
        if wake is not None:
            wake()
        return True

    def run_next(self) -> bool:
        """Run one function; False if there is none."""
        with self._mutex:
            if not self._calls:
                return False
            call = self._calls.popleft()
        try:
            call()
        finally:
            del call  # the traceback of what it raises holds this frame: no cycle
        return True

    def wake_by(self, wake: Callable[[], None] | None) -> Callable[[], None] | None:
        """The thread begins or ends a wait: have this called for what comes from now on.

        Returns:
            What was called until now, for an outer wait; give it back after this one.
        """
        with self._mutex:
            before, self._wake = self._wake, wake
            due = bool(self._calls)
        if due and wake is not None:
            wake()
        return before

    def close(self) -> list[Callable[[], None]]:
        """Take nothing more; returns what has come and was not run."""
        with self._mutex:
            self._closed = True
            self._wake = None  # which may lead here: no cycle
            rest, self._calls = list(self._calls), deque()
        return rest
