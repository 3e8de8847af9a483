"""A job: one tracked coroutine, from the moment it comes in until it has an outcome."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import asyncio
    import contextvars
    from collections.abc import Coroutine

    from .seam import Signal
    from .sync_calls import SyncCalls

__all__ = ["DROPPED", "NEW", "QUEUED", "STARTED", "Host", "HostJob", "Job", "JobFuture", "Waiter"]

NEW, QUEUED, STARTED, DROPPED = range(4)
"""Nobody has seen the job yet; it waits in the baton's queue; its task is made or being made;
it was cancelled before that, and never will be."""


class JobFuture(Protocol):
    """What a job tells its outcome to, apart from a thread that blocks in `run()`."""

    def settle(self, job: Job) -> None:
        """Take over the outcome of a job that is done. Called once, on any thread."""


class Job:
    """One tracked coroutine. Lives from `run()` or `submit_task()` until it is done.

    `state`, `waiter`, `abandoned`, `done` and the outcome are written under the baton's mutex.
    `done` is set after the outcome and never unset, so who sees it may read the outcome without.
    """

    # Class attributes are the defaults: a call pays for setting two, not for a dozen.
    task: asyncio.Task[Any] | None = None
    future: JobFuture | None = None
    waiter: Waiter | None = None  # the thread that blocks in run(), if it does not drive
    state = NEW
    done = False
    result: Any = None
    exception: BaseException | None = None
    cancelled = False
    stopped = False  # ended because the manager was stopped
    timer: asyncio.TimerHandle | None = None  # of its timeout; only if its thread does not drive
    expired = False  # the timeout of run() has passed, and its task is to be cancelled
    cut_off = False  # and that came before the job was done; written on the loop
    abandoned = False  # its caller has gone without its outcome
    left = False  # the thread that drives for this job goes on without its end
    lost = False  # the loop was taken over from that thread, which alone writes and reads this
    foreign_context = False  # somebody else's, who may be inside it
    host: Host | None = None  # who does it, if it is no coroutine of its own
    on_keeper = False  # only the keeper may do it
    calls: SyncCalls | None = None  # sync functions that its thread is to run while it waits
    calls_back = False  # its thread runs sync code for a coroutine on the very same loop

    def __init__(self, coro: Coroutine[Any, Any, Any], context: contextvars.Context) -> None:
        self.coro = coro
        self.context = context

    @property
    def name(self) -> str:
        """The coroutine's qualified name, for the log."""
        return getattr(self.coro, "__qualname__", None) or repr(self.coro)

    def discard(self) -> None:
        """Nobody will ever run it: leave no coroutine behind that was never awaited."""
        self.coro.close()


class Host(Protocol):
    """A task on the loop that lives on between its jobs, parked."""

    name: str
    context: contextvars.Context  # of its task
    on_keeper: bool  # the keeper has stepped it; nobody else will

    def serve(self, job: HostJob) -> None:
        """Go on for this job. With the baton, perhaps outside of the loop; raises nothing."""


class HostJob(Job):
    """What a thread asks of a host, once. Lives until the host has answered.

    Args:
        host: Whom it asks.
        on_keeper: Only the keeper may do it, as it has done the host's earlier ones.
    """

    def __init__(self, host: Host, *, on_keeper: bool) -> None:
        self.host = host
        if on_keeper:
            self.on_keeper = True

    @property
    def name(self) -> str:
        """The host's name."""
        return "" if self.host is None else self.host.name

    def discard(self) -> None:
        """It has no coroutine of its own."""


class Waiter:
    """A thread that waits for a job, and perhaps for the baton. Lives as long as the wait.

    `granted` and `dropped` are written under the baton's mutex, and followed by the signal. `job`
    is gone when the job is done and the thread has seen that.
    """

    __slots__ = ("dropped", "granted", "job", "signal", "thread")

    def __init__(self, thread: int, job: Job, signal: Signal) -> None:
        self.thread = thread
        self.job = job
        self.signal = signal
        self.granted = False  # the thread holds the baton now, or has to pass it on
        self.dropped = False  # the thread will not get it, and its job is somebody else's
