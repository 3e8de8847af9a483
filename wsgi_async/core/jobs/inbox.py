"""Functions that a coroutine asks a blocked thread to run."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from wsgi_async.core.base.primitives import new_mutex

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Inbox"]


class Inbox:
    """Functions for one thread to run while it waits. Lives as long as its job or function.

    Any thread may call `put()`. Only the waiting thread calls the other methods.

    Args:
        wake: Wakes the waiting thread; takes no lock. None while the thread does not wait.
    """

    def __init__(self, wake: Callable[[], None] | None = None) -> None:
        # Never changes. The thread that holds it can take it again: a destructor may call put().
        self._mutex = new_mutex()
        # Guarded by `Inbox._mutex`:
        self._calls: deque[Callable[[], None]] = deque()
        self._closed = False
        self._wake = wake

    def put(self, call: Callable[[], None]) -> bool:
        """Queue a function, which must not raise. False if no thread will run it."""
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
            del call  # its exception's traceback holds this frame: avoid a cycle
        return True

    def wake_by(self, wake: Callable[[], None] | None) -> Callable[[], None] | None:
        """Set the function that wakes the thread, as the thread begins or ends a wait.

        Returns:
            The previous one, of an outer wait. Set it again after this wait.
        """
        with self._mutex:
            before, self._wake = self._wake, wake
            due = bool(self._calls)
        if due and wake is not None:
            wake()
        return before

    def close(self) -> list[Callable[[], None]]:
        """Refuse further functions; return those that have not run."""
        with self._mutex:
            self._closed = True
            self._wake = None  # it may refer to us: avoid a cycle
            rest, self._calls = list(self._calls), deque()
        return rest
