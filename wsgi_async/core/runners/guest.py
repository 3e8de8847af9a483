"""A guest: uses a loop that other code runs, for example an ASGI server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsgi_async.core.messages.errors import RunningLoopError

from .resident import wakeup_here
from .runner import register

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from wsgi_async.core.base.primitives import Wakeup
    from wsgi_async.core.jobs.job import Job
    from wsgi_async.core.loops.live_loop import LiveLoop

__all__ = ["Guest"]


class Guest:
    """Submits work to a loop that other code runs. Made on the loop's thread.

    It ends its own work only, not the loop's other tasks or the loop itself. Lives from a
    manager's start on the loop to its `stop()`, or to the loop's end.

    Args:
        live: The live loop.
        depart: Ends the work. Called on the loop, or without it if the loop ends first.
        give_up: The same, after a failed `on_start`. Returns the task that does it.
    """

    # Never changes:
    kind = "guest"
    resident = False

    def __init__(
        self,
        live: LiveLoop,
        depart: Callable[[], object],
        give_up: Callable[[], asyncio.Task[None] | None],
    ) -> None:
        # Never changes:
        self.live = live
        self.owner = live.primitives.current()
        self._primitives = live.primitives
        self._depart = depart
        self.give_up = give_up
        # Never changes: we cannot notice when the loop is entered.
        self.entries = 0
        self.inside = True
        register(self)
        # What others have put in the place of the loop's own `close()`, and ours then replaces.
        self._replaced = getattr(live.raw, "__dict__", {}).get("close")
        self._close = live.raw.close
        try:
            setattr(live.raw, "close", self._close_with_us)  # noqa: B010 - a method, as far as types go
        except AttributeError:
            pass  # an extension type: we cannot notice the end of the loop

    def _close_with_us(self) -> None:
        """Replaces the loop's `close()`, so that no thread waits for a loop that is closed."""
        if not self.live.inherited:  # else another thread may have held the mutex at the fork
            self._depart()
        self._close()

    @property
    def usable_here(self) -> bool:
        """False on the loop's own thread while it is outside the loop: no other thread runs it."""
        return self._primitives.current() != self.owner or self.live.raw.is_running()

    def begin(self, job: Job) -> None:
        """Submit a job that this thread waits for next.

        Raises:
            Closing: The manager is being stopped.
            RunningLoopError: Only this thread runs the loop.
        """
        self.check_wait()
        self.live.submit(job)

    def check_wait(self) -> None:
        """Raise if the loop would stand still while the current thread waits for it.

        Raises:
            RunningLoopError: Only this thread runs the loop.
        """
        if not self.usable_here:
            raise RunningLoopError(
                f"The event loop of {self.live.label} runs on this thread only, and would stand "
                "still if it waited here. Use the loop's run_until_complete()."
            )

    def go(self) -> None:
        """Restore the `close()` that the loop had, after our work has ended."""
        raw = self.live.raw
        if getattr(raw, "__dict__", {}).get("close") != self._close_with_us:
            return
        if self._replaced is None:
            del raw.close
        else:
            setattr(raw, "close", self._replaced)  # noqa: B010 - a method, as far as types go

    def wakeup(self) -> Wakeup:
        """A wake-up for one wait of the current thread."""
        return wakeup_here(self._primitives)

    def leave(self) -> None:
        """Have the loop end our work, soon. If it does not run, end the work now, with locks."""
        if self.live.raw.is_running():
            self.live.post(self._depart)
        else:
            self._depart()

    def join(self, timeout: float) -> None:
        """Do nothing: the thread is not ours."""
