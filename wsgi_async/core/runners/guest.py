"""A guest: runs on a loop that somebody else runs, for example an ASGI server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsgi_async.core.messages.errors import RunningLoopError

from .resident import wakeup_here
from .runner import register

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsgi_async.core.base.primitives import Wakeup
    from wsgi_async.core.jobs.job import Job
    from wsgi_async.core.loops.live_loop import LiveLoop

__all__ = ["Guest"]


class Guest:
    """Hands work to a loop that another one runs. Made on the loop's thread.

    It ends its own work only: the loop's other tasks, and the loop itself, are not its own. Lives
    from a manager's start on the loop to its `stop()`, or to the loop's end.

    Args:
        live: The live loop.
        depart: Ends the work; called on the loop, or without it where it has ended before us.
    """

    # Never changes:
    kind = "guest"
    resident = False

    def __init__(self, live: LiveLoop, depart: Callable[[], object]) -> None:
        # Never changes:
        self.live = live
        self.owner = live.primitives.current()
        self._primitives = live.primitives
        self._depart = depart
        # Never changes: nobody tells us when the loop is entered.
        self.entries = 0
        self.inside = True
        register(self)
        self._close = live.raw.close
        try:
            setattr(live.raw, "close", self._close_with_us)  # noqa: B010 - a method, as far as types go
        except AttributeError:
            pass  # an extension type: nobody tells us of its end

    def _close_with_us(self) -> None:
        """In the place of the loop's `close()`: nobody is to wait for a loop that is gone."""
        if not self.live.inherited:  # else another thread may have held the mutex at the fork
            self._depart()
        self._close()

    @property
    def usable_here(self) -> bool:
        """False on the loop's own thread while it is not in the loop: nobody else enters that."""
        return self._primitives.current() != self.owner or self.live.raw.is_running()

    def begin(self, job: Job) -> None:
        """Hand in a job that this thread waits for next.

        Raises:
            Closing: The manager is being stopped.
            RunningLoopError: The loop is this thread's to run.
        """
        if not self.usable_here:
            raise RunningLoopError(
                f"The event loop of {self.live.label} runs on this thread only, and would stand "
                "still if it waited here. Use the loop's run_until_complete()."
            )
        self.live.submit(job)

    def go(self) -> None:
        """Our work has ended: leave the loop as we found it."""
        raw = self.live.raw
        if getattr(raw, "__dict__", {}).get("close") == self._close_with_us:
            del raw.close

    def wakeup(self) -> Wakeup:
        """A wake-up for one wait of the current thread."""
        return wakeup_here(self._primitives)

    def leave(self) -> None:
        """Have the loop end our work, soon; at once where it does not run, and takes locks then."""
        if self.live.raw.is_running():
            self.live.post(self._depart)
        else:
            self._depart()

    def join(self, timeout: float) -> None:
        """Nothing: the thread is another's."""
