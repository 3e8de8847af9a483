"""A job: one piece of work for a loop, from its submission until it has an outcome."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol
from weakref import ReferenceType, WeakKeyDictionary, ref

from wsgi_async.core.base.coroutines import close_refused, qualified_name
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
    "callers",
    "current_caller",
    "note_caller",
]


class ServedFunction(Protocol):
    """A function that a coroutine asks a waiting thread to run."""

    home: Home
    """The loop that the outcome goes to; written before the thread sees the function."""

    def run(self) -> None:
        """In the waiting thread: run the function."""

    def lose(self) -> None:
        """On the loop: the waiting thread will not run the function."""


class Asked(Protocol):
    """A caller: a coroutine asks it to run a function on the thread that waits for it."""

    outer: Asked | None
    """The caller of the sync code that made this one, if there is any; asked next."""

    def ask(self, loop: asyncio.AbstractEventLoop, function: ServedFunction) -> bool:
        """On the loop: queue a function. False if no thread waits for this caller any more."""
        ...


current_caller: ContextVar[Asked | None] = ContextVar("wsgi_async caller", default=None)
"""The caller that the current coroutine, and the tasks that it starts, can ask."""


callers: WeakKeyDictionary[asyncio.Task[Any], ReferenceType[Job]] = WeakKeyDictionary()
"""The jobs of tasks whose context is the user's. Another job may use that context at the same time,
and its variable then has the other job. No lock: for each task, only its loop's thread."""


def note_caller(task: asyncio.Task[Any], job: Job) -> None:
    """Note which job a task runs, whatever the task's context says."""
    callers[task] = ref(job)


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
        """From any thread: call a function on the loop, soon."""

    def later(
        self, seconds: float, callback: Callable[..., object], *args: Any
    ) -> asyncio.TimerHandle:
        """On the loop: call a function after `seconds`."""
        ...

    def cancel_unstarted(self, job: Job) -> None:
        """End a job whose coroutine has not had its first step."""


class JobFuture(Protocol):
    """Receives a job's outcome. A job that a thread waits for in `run()` has none."""

    def waited_for(self, job: Job) -> bool:
        """Whether a thread waits for the outcome right now. From any thread."""
        ...

    def settle(self, job: Job) -> None:
        """Take over the outcome of a job that is done. Called once, on any thread."""


class Job:
    """One tracked coroutine. Lives from `run()` or `submit_task()` until it is done.

    Args:
        coro: The coroutine.
        context: The context that it runs in.
        outer: The caller of the sync code that makes this job, if there is any.
    """

    # Class attributes hold the defaults, so that each call sets only a few attributes.
    # Never changes once the loop sees the job:
    wakeup: Wakeup | None = None  # of the thread that waits for the job
    waiter: int | None = None  # the ident of that thread
    deadline: Deadline | None = None  # of that thread
    quiet = False  # its task does not raise the CancelledError that its thread gets
    foreign_context = False  # the context is the user's, and may be entered already
    # Guarded by `LiveLoop.mutex`. `done` is set after the outcome and never unset, so a thread
    # that sees it may read the outcome without the mutex.
    done = False
    cancelled = False
    stopped = False  # it ended because the manager was stopped
    released = False  # its thread stopped waiting without the outcome
    expired = False  # its deadline has passed, so it is canceled, once
    inbox: Inbox | None = None  # functions for that thread to run while it waits
    # No lock: written before `done`. The thread that waited removes them, to keep nothing alive.
    result: Any = None
    exception: BaseException | None = None
    # No lock: written before the loop sees the job, and removed by the one thread that sets `done`.
    future: JobFuture | None = None
    # No lock: written on the loop. Other threads may see a change late.
    home: Home | None = None  # the loop on which it has begun
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
        return qualified_name(self.coro)

    @property
    def label(self) -> str:
        """Its name in the log."""
        return with_origin(self.name, self.context)

    @property
    def age(self) -> float:
        """Seconds since it was made."""
        return Primitives.clock() - self.since

    def discard(self) -> None:
        """Close the coroutine, which will never run, so that Python does not warn about it."""
        close_refused(self.coro)

    def task_ended(self, _: object) -> None:
        """On the loop: end the job if its task has ended without running the coroutine.

        This happens if the task is canceled before its first step.
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
        """Set a timer on the loop: the thread may be busy when the deadline passes."""
        left = deadline.left()
        if left is not None and self.timer is None and not self.expired:
            self.timer = home.later(left, self._expire, home)

    def _expire(self, home: Home) -> None:
        with home.mutex:
            if self.done or self.expired:
                return  # the thread has noticed it too, and cancels the job: once is enough
            self.expired = True
        home.cancel(self)


class Served(Protocol):
    """A task on the loop that serves one call after another."""

    name: str

    @property
    def label(self) -> str:
        """Its name in the log."""
        ...

    def serve(self, call: ActorCall) -> None:
        """On the loop: continue, to serve this call. Raises nothing."""


class ActorCall(Job):
    """One call that a thread makes to an actor. Lives until the actor has answered.

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
        """The actor's name in the log."""
        return self.actor.label

    def discard(self) -> None:
        """Do nothing: a call has no coroutine of its own."""
