"""The one place where a thread blocks until a job or a future is done."""

from __future__ import annotations

from contextlib import ExitStack
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
        """Whether the wait is over. Set only after all that the waiting thread reads next."""
        ...

    @property
    def inbox(self) -> Inbox | None:
        """Functions for the thread to run while it waits."""


def wait_for(waited: Waited, wakeup: Wakeup, deadline: Deadline | None = None) -> bool:
    """Block until `waited` is done. Run the functions in the thread's inboxes meanwhile.

    Args:
        waited: The code that completes it sets the wake-up afterwards.
        wakeup: The thread's wake-up for this wait.
        deadline: When to give up.

    Returns:
        Whether `waited` is done.
    """
    other = None if bridge.active is None else bridge.active.thread_inbox()
    before = None if other is None else other.wake_by(wakeup.set)
    try:
        # Checked only once this thread can be woken: a change after the check wakes it.
        while not waited.done:
            left = None if deadline is None else deadline.left()
            # Run no functions after the deadline: there may be no end of them.
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
    """After the wait: refuse further functions, and run those that are in the inbox."""
    with ExitStack() as calls:  # all of them, also if one is interrupted
        for call in reversed(inbox.close()):
            calls.callback(call)
