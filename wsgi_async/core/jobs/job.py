"""A job: one piece of work for a loop, from the moment it comes in until it has an outcome."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

from wsgi_async.core.base.coroutines import close_unstarted
from wsgi_async.core.base.log import with_origin
from wsgi_async.core.base.primitives import Primitives

from .inbox import Inbox

if TYPE_CHECKING:
    import asyncio
    import contextvars
    from collections.abc import Callable, Coroutine

    from wsgi_async.core.base.deadlines import Deadline
    from wsgi_async.core.base.primitives import Mutex, Wakeup

__all__ = [
    "ActorCall",
    "Asked",
    "Home",
    "Job",
    "JobFuture",
    "Served",
    "ServedFunction",
    "current_caller",
]


class ServedFunction(Protocol):
    """A function that a coroutine has a waiting thread run."""

    home: Home
    """Where the outcome goes; written before the thread sees the function."""

    def run(self) -> None:
        """In the waiting thread: run it."""

    def lose(self) -> None:
        """On the loop: the thread that was to come for it will not."""


class Asked(Protocol):
    """What a coroutine asks to have a function run by the thread that waits for it."""

    outer: Asked | None
    """Whose thread runs the sync code that this one was called in, if there is any."""

    def ask(self, loop: asyncio.AbstractEventLoop, function: ServedFunction) -> bool:
        """On the loop: line a function up; False if no thread of this loop waits any more."""
        ...


current_caller: ContextVar[Asked | None] = ContextVar("wsgi_async caller", default=None)
"""Whom the present coroutine, and the tasks that it starts, can ask."""


class Home(Protocol):
    """The loop that a job runs on."""

    mutex: Mutex
    raw: asyncio.AbstractEventLoop
    inherited: bool

    @property
    def label(self) -> str:
        """What to call the manager in errors."""
        ...

    def cancel(self, job: Job) -> None:
        """On the loop: cancel the job's task."""

    def post(self, callback: Callable[..., object], *args: Any) -> None:
        """From any thread: call something on the loop, soon."""

    def later(
        self, seconds: float, callback: Callable[..., object], *args: Any
    ) -> asyncio.TimerHandle:
        """On the loop: call something in so many seconds."""
        ...

    def cancel_unstarted(self, job: Job) -> None:
        """End a job whose coroutine has not had its first step."""


class JobFuture(Protocol):
    """What a job tells its outcome to, apart from a thread that blocks in `run()`."""

    def settle(self, job: Job) -> None:
        """Take over the outcome of a job that is done. Called once, on any thread."""


class Job:
    """One tracked coroutine. Lives from `run()` or `submit_task()` until it is done.

    Args:
        coro: The coroutine.
        context: The context that it runs in.
        outer: Whom the sync code can ask that this job is called from.
    """

    # Class attributes are the defaults: a call pays for setting three, not for a dozen.
    # Never changes once the loop sees the job:
    wakeup: Wakeup | None = None  # of the thread that blocks for it
    waiter: int | None = None  # the ident of that thread
    deadline: Deadline | None = None  # of that thread
    quiet = False  # its task does not raise the CancelledError that its thread gets
    foreign_context = False  # somebody else's context, who may be inside it
    # Guarded by `LiveLoop.mutex`. `done` comes after the outcome and is never unset, so a thread
    # that sees it may read the outcome without the mutex.
    done = False
    cancelled = False
    stopped = False  # it ended because the manager was stopped
    released = False  # its thread has gone on without the outcome
    expired = False  # to be canceled, once, since its deadline has passed
    inbox: Inbox | None = None  # functions that this thread is to run meanwhile
    # No lock: written before `done`; the thread that waited takes them out, to keep nothing alive.
    result: Any = None
    exception: BaseException | None = None
    # No lock: written before the loop sees the job, and taken by the one thread that sets `done`.
    future: JobFuture | None = None
    # No lock: written on the loop. Others look at it in passing.
    home: Home | None = None  # where it has begun
    task: asyncio.Task[Any] | None = None
    timer: asyncio.TimerHandle | None = None  # of the deadline, while the thread runs a function
    cut_off = False  # canceled before it was done

    def __init__(
        self,
        coro: Coroutine[Any, Any, Any],
        context: contextvars.Context,
        outer: Asked | None = None,
    ) -> None:
        # Never changes:
        self.coro = coro
        self.context = context
        self.outer = outer
        self.since = Primitives.clock()

    @property
    def name(self) -> str:
        """The coroutine's qualified name."""
        return getattr(self.coro, "__qualname__", None) or repr(self.coro)

    @property
    def label(self) -> str:
        """What to call it in the log."""
        return with_origin(self.name, self.context)

    @property
    def age(self) -> float:
        """Seconds since it came in."""
        return Primitives.clock() - self.since

    def discard(self) -> None:
        """Nobody will ever run it: leave no coroutine behind that was never awaited."""
        close_unstarted(self.coro)

    def task_ended(self, _: object) -> None:
        """On the loop: the task has ended without a word of its coroutine.

        Somebody has canceled it before its first step.
        """
        if self.home is not None and not self.done:  # pragma: no branch - a stop was faster
            self.home.cancel_unstarted(self)

    def ask(self, loop: asyncio.AbstractEventLoop, function: ServedFunction) -> bool:
        """On the loop: have the waiting thread run a function; see `Asked`."""
        home = self.home
        if home is None or home.raw is not loop or self.wakeup is None:
            return False
        with home.mutex:
            if self.done or self.released:
                return False
            inbox = self.inbox
            if inbox is None:
                inbox = self.inbox = Inbox(self.wakeup.nudge)
        if self.deadline is not None:
            self._limit(home, self.deadline)
        function.home = home
        return inbox.put(function.run)

    def _limit(self, home: Home, deadline: Deadline) -> None:
        """From now on the loop counts the time: the thread may be busy when it is over."""
        left = deadline.left()
        if left is not None and self.timer is None and not self.expired:
            self.timer = home.later(left, self._expire, home)

    def _expire(self, home: Home) -> None:
        with home.mutex:
            if self.done or self.expired:
                return  # the thread has found so too, and has it canceled: twice is once too often
            self.expired = True
        home.cancel(self)


class Served(Protocol):
    """A task on the loop that serves one call after the other."""

    name: str

    @property
    def label(self) -> str:
        """What to call it in the log."""
        ...

    def serve(self, call: ActorCall) -> None:
        """On the loop: go on for this call. Raises nothing."""


class ActorCall(Job):
    """What a thread asks of an actor, once. Lives until the actor has answered.

    Args:
        actor: The actor.
    """

    def __init__(self, actor: Served) -> None:
        # Never changes:
        self.actor = actor
        self.since = Primitives.clock()

    @property
    def name(self) -> str:
        """The actor's name."""
        return self.actor.name

    @property
    def label(self) -> str:
        """What to call the actor in the log."""
        return self.actor.label

    def discard(self) -> None:
        """It has no coroutine of its own."""
