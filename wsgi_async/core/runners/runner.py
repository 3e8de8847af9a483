"""What runs a loop, as the code sees it that hands work to one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ..base.primitives import Wakeup
    from ..jobs.job import Job
    from ..loops.live_loop import LiveLoop

__all__ = ["Runner"]


class Runner(Protocol):
    """Runs one loop on one thread. Lives from a manager's `start()` to its `stop()`.

    Callable from any thread.
    """

    live: LiveLoop
    resident: bool
    """Whether the loop's thread is the one that the manager belongs to."""

    def begin(self, job: Job) -> None:
        """Hand in a job that this thread waits for next.

        Raises:
            Closing: The manager is being stopped.
        """

    def borrow(self) -> Wakeup:
        """A wake-up for one wait of the current thread; give it back after the wait."""
        ...

    def give_back(self, wakeup: Wakeup) -> None:
        """The wait is over."""

    def leave(self) -> None:
        """Have the loop's thread notice that the manager is being stopped. Takes no lock."""

    def join(self, timeout: float) -> None:
        """Wait until the loop's thread has done with the loop, after a stop."""
