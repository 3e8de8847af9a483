"""What runs a loop, as seen by the code that submits work to it."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio

    from wsgi_async.core.base.primitives import Wakeup
    from wsgi_async.core.jobs.job import Job
    from wsgi_async.core.loops.live_loop import LiveLoop

__all__ = ["Runner", "register", "runner_of"]

# Weak on both sides, because a runner holds its loop.
_runners: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, weakref.ref[Runner]]
_runners = weakref.WeakKeyDictionary()


def register(runner: Runner) -> None:
    """Let `runner_of()` find a runner by its loop.

    A guest on a loop of ours does not take the place of what runs that loop.
    """
    present = runner_of(runner.live.raw)
    if present is None or present.live.closing or present.kind == "guest":
        _runners[runner.live.raw] = weakref.ref(runner)


def runner_of(loop: asyncio.AbstractEventLoop) -> Runner | None:
    """The runner of a manager's loop; None for any other loop. From any thread."""
    reference = _runners.get(loop)
    return None if reference is None else reference()


class Runner(Protocol):
    """Runs one loop on one thread. Lives from a manager's `start()` to its `stop()`.

    Callable from any thread.
    """

    live: LiveLoop
    kind: str
    """`"keeper"`, `"resident"`, or `"guest"` if other code runs the loop."""
    resident: bool
    """Whether the loop's thread is the one that the manager belongs to."""
    owner: int
    """The ident of the loop's thread."""
    entries: int
    """How often that thread has entered the loop; a hint."""
    inside: bool
    """Whether that thread is in the loop right now; a hint."""

    def begin(self, job: Job) -> None:
        """Submit a job that this thread waits for next.

        Raises:
            Closing: The manager is being stopped.
        """

    def wakeup(self) -> Wakeup:
        """A wake-up for one wait of the current thread."""
        ...

    def leave(self) -> None:
        """Have the loop's thread notice that the manager is being stopped. Takes no lock."""

    def join(self, timeout: float) -> None:
        """After a stop, wait until the loop's thread no longer needs the loop."""
