"""A live loop: what happens on one running loop, and the state that its threads share.

A loop and every coroutine on it run on one thread, from start to stop. Any thread may submit a
job; the loop's own thread begins it.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import weakref
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from wsgi_async.core.base.log import report
from wsgi_async.core.base.masking import unmask
from wsgi_async.core.jobs import bridge, observers
from wsgi_async.core.jobs.job import ActorCall, current_caller, note_caller
from wsgi_async.core.messages.errors import Closing, ManagerStateError
from wsgi_async.core.messages.foreign_loops import explain

from .open_resources import belongs_to_resource
from .selector import LOOK

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from wsgi_async.core.base.primitives import Primitives
    from wsgi_async.core.jobs.job import Job

    from .guard import BoundLoop
    from .selector import WatchedSelector

__all__ = ["Followed", "LiveLoop", "Parked"]


class Followed(Protocol):
    """A future on the loop that a thread waits for without a job."""

    def fail(self, error: RuntimeError) -> None:
        """Fail the future: the loop has ended before it was done."""


class Parked(Protocol):
    """An actor, whose task lives on between its calls."""

    name: str

    @property
    def label(self) -> str:
        """Its name in the log."""
        ...

    task: asyncio.Task[Any] | None
    leaving: bool


class LiveLoop:
    """Everything about one running loop that its threads share.

    Lives from a manager's `start()` to its `stop()`; a manager that is started again gets a new
    one. Callable from any thread, unless a method says otherwise.

    Args:
        loop: The loop, with its methods bound before they were guarded.
        primitives: Locks, wake-ups, loop entry, clock.
        grace: How long a canceled coroutine may clean up, in seconds.
        label: Returns the manager's name for errors.
        status: Returns its name for the log, with what runs the loop and the work in flight.
        selector: The loop's selector, if it is our own. For a loop without it, a timer wakes the
            loop once a second while there is work in flight; see `WatchedSelector`.
    """

    def __init__(
        self,
        loop: BoundLoop,
        primitives: Primitives,
        *,
        grace: float,
        label: Callable[[], str],
        status: Callable[[], str],
        selector: WatchedSelector | None = None,
    ) -> None:
        # Never changes:
        self.loop = loop
        self.raw = loop.raw
        self.primitives = primitives
        self.grace = grace
        self.selector = selector
        self._label = label
        self._status = status
        # On the loop: ends its run when nothing is ready on it any more. Without our selector, the
        # loop cannot tell, and ends its run after the current turn.
        self.leave_soon: Callable[[], None] = loop.stop
        # Our own callbacks on the loop run in this context. Otherwise they would keep the variables
        # of a request. Only the loop's thread enters it.
        self._context = contextvars.Context()
        self.mutex = primitives.mutex()
        # Guarded by `LiveLoop.mutex`:
        self.queue: deque[Job] = deque()  # jobs that have not begun
        self.jobs: set[Job] = set()  # jobs that have begun and are not done
        self._due = False  # start_queued() is on the loop, and has not run yet
        # Futures on the loop that threads wait for without a job. Those threads must not hang.
        self._followed: weakref.WeakSet[Followed] = weakref.WeakSet()
        # No lock: set once, and never unset. A thread that reads it too early is refused later,
        # because it reads it again under the mutex.
        self.closing = False  # the manager is being stopped
        # No lock: written in a forked child, where there is one thread.
        self.inherited = False  # no thread will ever run this loop here
        # One thread, the loop's:
        # Keeps the parked tasks, because the loop holds its tasks weakly.
        self.actors: set[Parked] = set()
        self.leaving: set[asyncio.Task[Any]] = set()  # canceled because the manager is stopping
        self._may_beat = selector is None
        self.bridged: object = None  # the plug-in that knows of the loop
        # Never changes; bound once, because each call looks these up:
        self.wake_with: Callable[..., object] = loop.call_soon_threadsafe
        self._start_queued = self.start_queued

    @property
    def label(self) -> str:
        """The manager's name for errors."""
        return self._label()

    @property
    def status(self) -> str:
        """The manager's name for the log, with what runs the loop and the work in flight."""
        return self._status()

    # -- from any thread -----------------------------------------------------------------------

    def submit(self, job: Job) -> None:
        """Submit a job. The loop begins it in its next turn.

        A destructor may call this, even if it interrupted this very thread inside this class.

        Raises:
            Closing: The manager is being stopped.
        """
        with self.mutex:
            if self.closing:
                raise Closing
            self.queue.append(job)
            # All jobs that are submitted between two turns cost one wake-up. start_queued() clears
            # the flag under the mutex. The next submitted job then wakes the loop again.
            due, self._due = self._due, True
        if not due:
            self.post(self._start_queued)

    def post(self, callback: Callable[..., object], *args: object) -> None:
        """Call a function on the loop, soon. Do nothing if the loop is closed."""
        try:
            self.wake_with(callback, *args, context=self._context)
        except RuntimeError:
            if not self.raw.is_closed():  # else the shutdown has ended every job already
                raise  # pragma: no cover - no known loop refuses while it is open

    def request_cancel(self, job: Job) -> None:
        """Cancel a job: at once if it has not begun, else on the loop, soon.

        An exception from a signal handler may have interrupted its `submit()`, before or after the
        job was queued. Then the loop was not woken for the queue, so it is woken here.
        """
        if job.home is None:
            self.post(self._start_queued)
        with self.mutex:
            begun = job.done or job in self.jobs
            if not begun:
                if job in self.queue:
                    self.queue.remove(job)
                self.jobs.add(job)  # so that a stop() sees it until it has its outcome
        if begun:
            self.post(self.cancel, job)
        else:
            self.cancel_unstarted(job)

    def cancel_unstarted(self, job: Job) -> None:
        """End a job that has not begun and is in no queue any more."""
        job.discard()
        self.finish(job, exception=asyncio.CancelledError(), cancelled=True)

    def release(self, job: Job) -> None:
        """Let the job's thread continue without the outcome, unless the job has one by now."""
        with self.mutex:
            job.released = not job.done
        if job.released:  # pragma: no branch - it may have ended just now
            report(
                logging.WARNING,
                "%s: %s did not end within %s s after it was canceled, and continues without its "
                "caller",
                self.status,
                job.label,
                self.grace,
            )

    def finish(
        self,
        job: Job,
        result: Any = None,
        *,
        exception: BaseException | None = None,
        cancelled: bool = False,
    ) -> None:
        """Give a job its outcome and wake the thread that waits; the first outcome counts."""
        if exception is not None:
            unmask(exception)
        stopped = cancelled and self.closing
        if stopped:
            exception, cancelled = self.stopped_error(exception), False
        with self.mutex:
            if job.done:
                return
            if stopped:
                job.stopped = True
            job.result, job.exception, job.cancelled = result, exception, cancelled
            self.jobs.discard(job)
            job.done = True
        if job.released and exception is not None and not (cancelled or stopped):
            report(
                logging.ERROR,
                "%s: %s failed after its caller had given it up",
                self.status,
                job.label,
                error=exception,
            )
        if job.timer is not None:
            self.post(job.timer.cancel)
        if observers.observers:
            observers.tell_done(job)
        if job.wakeup is not None:
            job.wakeup.set()
        if job.future is not None:
            future, job.future = job.future, None
            future.settle(job)

    def in_flight(self) -> list[Job]:
        """The jobs that have begun and are not done; a hint."""
        with self.mutex:
            return list(self.jobs)

    def unfinished(self) -> list[Job]:
        """As `in_flight()`, plus the jobs that have not begun."""
        with self.mutex:
            return [*self.jobs, *self.queue]

    def is_of_job(self, task: asyncio.Task[Any]) -> bool:
        """Whether a task runs the coroutine of a job, done or not."""
        return getattr(task.get_coro(), "cr_code", None) is LiveLoop._follow.__code__

    def follow(self, future: Followed) -> None:
        """Have a future fail if the loop ends before it is done."""
        with self.mutex:
            self._followed.add(future)

    def fail_unfinished(self) -> None:
        """Wake all threads that wait for this loop, which has ended or does not respond."""
        with self.mutex:
            jobs = [*self.jobs, *self.queue]
            followed = list(self._followed)
        for job in jobs:
            self.finish(job, exception=asyncio.CancelledError(), cancelled=True)
        for future in followed:
            future.fail(self.stopped_error(None))

    def stopped_error(self, cause: BaseException | None) -> ManagerStateError:
        """The error for a waiting thread whose manager was stopped."""
        error = ManagerStateError(
            f"{self.label} was stopped before this call was done. "
            "Start the manager again, or wait for its work before you stop it."
        )
        error.__cause__ = cause
        return error

    # -- on the loop ---------------------------------------------------------------------------

    def start_queued(self) -> None:
        """Begin all queued jobs."""
        with self.mutex:
            self._due = False
            jobs, self.queue = self.queue, deque()
            self.jobs.update(jobs)
        for job in jobs:
            self.begin(job)

    def begin_now(self, job: Job) -> None:
        """On the loop's thread, perhaps between two turns: begin a new job at once.

        Raises:
            Closing: The manager is being stopped.
        """
        with self.mutex:
            if self.closing:
                raise Closing
            self.jobs.add(job)
        self.begin(job)

    def begin(self, job: Job) -> None:
        """Make the job's task, or have its actor continue. An error here is the job's outcome."""
        if self._may_beat:
            self._may_beat = False
            self.later(LOOK, self._beat)
        if isinstance(job, ActorCall):
            job.actor.serve(job)
            return
        wrapped = self._follow(job)
        try:
            if job.foreign_context:
                job.context.run(_nothing)  # raises if entered: asyncio would never step the task
            if bridge.active is not None:
                self.tell_bridge(bridge.active, job.context)
            job.home = self
            task = self.make_task(wrapped, job.context, job.name)
            if job.foreign_context:
                note_caller(task, job)
            if not task.done():  # an eager task factory may have run it to its end already
                job.task = task
                task.add_done_callback(job.task_ended)
        except BaseException as error:
            wrapped.close()
            job.discard()
            self.finish(job, exception=error)

    def _beat(self) -> None:
        if self.jobs:
            self.later(LOOK, self._beat)
        else:
            self._may_beat = True

    def later(
        self, seconds: float, callback: Callable[..., object], *args: Any
    ) -> asyncio.TimerHandle:
        """Call a function on the loop after `seconds`. On the loop's thread."""
        return self.raw.call_later(seconds, callback, *args, context=self._context)

    def tell_bridge(self, plugin: bridge.Bridge, context: contextvars.Context) -> None:
        """Tell the plug-in that work begins on the loop, in a context from another thread."""
        if self.bridged is not plugin:
            self.bridged = plugin
            plugin.loop_opened(self.raw)
        plugin.context_moved(context)

    def make_task(
        self, coro: Coroutine[Any, Any, None], context: contextvars.Context, name: str
    ) -> asyncio.Task[None]:
        """Make a task with the loop's factory, which may be the user's.

        Raises:
            TypeError: The factory has not returned a task.
            BaseException: What the factory raised.
        """
        factory: Any = self.raw.get_task_factory()
        # Instead of create_task(), which first gives each task a numbered name, or fails by itself
        # if a factory does not return a task.
        if factory is None:
            return asyncio.Task(coro, loop=self.raw, name=name, context=context)
        setattr(coro, "__qualname__", name)  # noqa: B010 - mypy knows no such attribute; see `name_after`
        task = factory(self.raw, coro, context=context)
        try:
            task.set_name(name)
        except AttributeError:
            raise TypeError(
                f"The task factory of {self.label} returned {task!r}. Have it return a task."
            ) from None
        return task  # type: ignore[no-any-return]

    async def _follow(self, job: Job) -> None:
        """Run the job's coroutine, and give its outcome to the job instead of to the loop."""
        finish = self._finish_later if job.foreign_context else self.finish
        try:
            result = await job.coro
        except asyncio.CancelledError as error:
            finish(job, exception=error, cancelled=True)
            if not job.quiet:
                raise
        except BaseException as error:
            explain(error)
            finish(job, exception=error)
        else:
            finish(job, result)
        finally:
            if current_caller.get() is job:
                current_caller.set(None)  # the job refers to this context: avoid a cycle
            if job.task is not None:
                # The callback would cost the loop one more turn.
                job.task.remove_done_callback(job.task_ended)
                if job.done:
                    # A canceled timer stays on the loop until its time, with its context, which
                    # refers to the job. From there, the task would keep our frames alive.
                    job.task = None
            del job  # the exception's traceback holds this frame: avoid a cycle

    def _finish_later(self, job: Job, result: Any = None, **outcome: Any) -> None:
        """As `finish()`, but not before the loop has left the job's context, for its caller."""
        self.raw.call_soon(partial(self.finish, job, result, **outcome), context=self._context)

    def wind_up(self) -> None:
        """For a stop: end all work that the loop's thread may be waiting for in its loop."""
        with self.mutex:
            queued, begun, followed = list(self.queue), list(self.jobs), list(self._followed)
        for job in queued:
            self.request_cancel(job)
        jobs = [job for job in begun if not _ends_with_resource(job)]
        for job in jobs:
            if job.task not in self.leaving:  # a second cancellation would cut its cleanup short
                self.cancel(job)
        self.leaving.update(job.task for job in jobs if job.task is not None)
        for future in followed:
            future.fail(self.stopped_error(None))

    def cancel(self, job: Job) -> None:
        """Cancel a job's task, unless the job is done by now.

        An actor's task lives on after each call. It is not canceled for a call that it has
        answered, unless the caller had stopped waiting before. If sync code of another coroutine
        waits for the job, the same deadline may have canceled the task already.
        """
        if job.task is None:
            # The task has ended, or the job's thread was interrupted in request_cancel().
            if not job.done:
                self.cancel_unstarted(job)
        elif job.released or not job.done:
            job.cut_off = True
            if not (job.quiet and job.task.cancelling()):
                job.task.cancel()


def _ends_with_resource(job: Job) -> bool:
    """On the loop: whether a job runs until its resource is closed, and no thread waits for it."""
    future, task = job.future, job.task
    waited_for = future is not None and future.waited_for(job)
    return task is not None and belongs_to_resource(task) and not waited_for


def _nothing() -> None:
    pass
