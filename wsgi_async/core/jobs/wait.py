"""The one place where a thread blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from . import bridge

if TYPE_CHECKING:
    from wsgi_async.core.base.deadlines import Deadline
    from wsgi_async.core.base.primitives import Wakeup

    from .inbox import Inbox

__all__ = ["Waited", "finish_inbox", "wait_for"]


class Waited(Protocol):
    """What a thread waits for."""

    @property
    def done(self) -> bool:
        """Whether the wait is over. True only after what the waiting thread reads then."""
        ...

    @property
    def inbox(self) -> Inbox | None:
        """What the thread is to run meanwhile."""


def wait_for(waited: Waited, wakeup: Wakeup, deadline: Deadline | None = None) -> bool:
    """Block until it is done, and run what comes into the thread's inboxes meanwhile.

    Args:
        waited: Whoever completes it sets the wakeup afterwards.
        wakeup: The thread's, for this wait.
        deadline: When to give up.

    Returns:
        Whether it is done.
    """
    other = None if bridge.active is None else bridge.active.thread_inbox()
    before = None if other is None else other.wake_by(wakeup.set)
    try:
        # Looked at after we can be woken, so what comes after the look wakes us.
        while not waited.done:
            left = None if deadline is None else deadline.left()
            # After the deadline no more functions: they may come without end.
            if left != 0:
                inbox = waited.inbox
                if inbox is not None and inbox.run_next():
                    continue
                if other is not None and other.run_next():
                    continue
            if not wakeup.wait(left):
                return waited.done
        return True
    finally:
        if other is not None:
            other.wake_by(before)


def finish_inbox(inbox: Inbox) -> None:
    """The wait is over: run what has come until now, and take nothing more."""
    for call in inbox.close():
        call()
