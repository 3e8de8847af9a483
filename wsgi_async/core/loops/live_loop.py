"""A live loop: what happens on one loop, and what its threads tell each other about it.

A loop and every coroutine on it run on one thread, from start to stop. Any thread may hand a job
in; the loop's own thread begins it.
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
from wsgi_async.core.jobs.job import ActorCall, current_caller
from wsgi_async.core.messages.errors import Closing, ManagerStateError
from wsgi_async.core.messages.foreign_loops import explain

from .selector import LOOK

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from wsgi_async.core.base.primitives import Primitives
    from wsgi_async.core.jobs.job import Job

    from .guard import BoundLoop
    from .selector import WatchedSelector

__all__ = ["Followed", "LiveLoop", "Parked"]


class Followed(Protocol):
    """A future on the loop that a thread waits for past us."""

    def fail(self, error: RuntimeError) -> None:
        """The loop has ended without it."""


class Parked(Protocol):
    """A task that lives on between its calls."""

    name: str

    @property
    def label(self) -> str:
        """What to call it in the log."""
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
        label: Tells what to call the manager in errors.
        status: Likewise in the log, with what runs the loop and what is in flight.
        selector: The loop's, where it is ours. A loop without it wakes once a second by itself as
            long as there is work in flight; see `WatchedSelector`.
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
        # On the loop: ends its run when nothing is ready on it any more. A loop that cannot tell
        # ends it after the present turn.
        self.leave_soon: Callable[[], None] = loop.stop
        # What we put on the loop ourselves runs in this. It would keep the variables of a request
        # otherwise. Only the loop's thread enters it.
        self._context = contextvars.Context()
        self.mutex = primitives.mutex()
        # Guarded by `LiveLoop.mutex`:
        self.queue: deque[Job] = deque()  # jobs that have not begun
        self.jobs: set[Job] = set()  # those that have, and are not done
        self._due = False  # start_queued() is on the loop, and has not looked yet
        # Futures on the loop that threads wait for past us; their waiters must not hang.
        self._followed: weakref.WeakSet[Followed] = weakref.WeakSet()
        # No lock: True once, for good. A thread that has seen it too early is refused under the
        # mutex, where it looks again.
        self.closing = False  # the manager is being stopped
        # No lock: written in a forked child, where there is one thread.
        self.inherited = False  # nobody will ever run this loop here
        # One thread, the loop's:
        # The loop holds its tasks weakly: this keeps the parked ones.
        self.actors: set[Parked] = set()
        self.leaving: set[asyncio.Task[Any]] = set()  # canceled since the manager is being stopped
        self._may_beat = selector is None
        self.bridged: object = None  # the plug-in that has been told of the loop
        # Never changes; bound once, as these are looked up in every call:
        self.wake_with: Callable[..., object] = loop.call_soon_threadsafe
        self._start_queued = self.start_queued

    @property
    def label(self) -> str:
        """What to call the manager in errors."""
        return self._label()

    @property
    def status(self) -> str:
        """What to call it in the log: with what runs the loop, and what is in flight."""
        return self._status()

    # -- from any thread -----------------------------------------------------------------------

    def submit(self, job: Job) -> None:
        """Hand a job in; the loop begins it at its next turn.

        Safe to call from a destructor that interrupted this very thread in the middle of
        anything here.

        Raises:
            Closing: The manager is being stopped.
        """
        with self.mutex:
            if self.closing:
                raise Closing
            self.queue.append(job)
            # What several threads hand in between two turns costs one wake-up. Whoever comes
            # after start_queued() has cleared the flag, under the mutex, wakes the loop again.
            due, self._due = self._due, True
        if not due:
            self.post(self._start_queued)

    def post(self, callback: Callable[..., object], *args: object) -> None:
        """Call something on the loop, soon; nothing if the loop is closed by now."""
        try:
            self.wake_with(callback, *args, context=self._context)
        except RuntimeError:
            if not self.raw.is_closed():  # else the shutdown has ended every job already
                raise  # pragma: no cover - no known loop refuses while it is open

    def request_cancel(self, job: Job) -> None:
        """Cancel a job: at once where it has not begun, else on the loop, soon.

        Its `submit()` may have been interrupted, in the queue or before that, by what a signal
        handler raised. Then the loop has not been told of the queue either.
        """
        if job.home is None:
            self.post(self._start_queued)
        with self.mutex:
            begun = job.done or job in self.jobs
            if not begun:
                if job in self.queue:
                    self.queue.remove(job)
                self.jobs.add(job)  # until it has its outcome, to be seen by a stop()
        if begun:
            self.post(self.cancel, job)
        else:
            self.cancel_unstarted(job)

    def cancel_unstarted(self, job: Job) -> None:
        """End a job that has not begun and is in no queue any more."""
        job.discard()
        self.finish(job, exception=asyncio.CancelledError(), cancelled=True)

    def release(self, job: Job) -> bool:
        """The job's thread goes on without its outcome; False if it has one by now."""
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
        return job.released

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
        """As `in_flight()`, with those that have not begun."""
        with self.mutex:
            return [*self.jobs, *self.queue]

    def is_of_job(self, task: asyncio.Task[Any]) -> bool:
        """Whether a task carries out a job, done or not."""
        return getattr(task.get_coro(), "cr_code", None) is LiveLoop._follow.__code__

    def follow(self, future: Followed) -> None:
        """Have a future end when the loop ends."""
        with self.mutex:
            self._followed.add(future)

    def fail_unfinished(self) -> None:
        """Wake everybody who still waits for something of a loop that ends, or ought to."""
        with self.mutex:
            jobs = [*self.jobs, *self.queue]
            followed = list(self._followed)
        for job in jobs:
            self.finish(job, exception=asyncio.CancelledError(), cancelled=True)
        for future in followed:
            future.fail(self.stopped_error(None))

    def stopped_error(self, cause: BaseException | None) -> ManagerStateError:
        """What a waiter gets whose manager was stopped."""
        error = ManagerStateError(
            f"{self.label} was stopped before this call was done. "
            "Start the manager again, or wait for its work before you stop it."
        )
        error.__cause__ = cause
        return error

    # -- on the loop ---------------------------------------------------------------------------

    def start_queued(self) -> None:
        """Begin what has been handed in."""
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
        """Make the job's task, or have its actor go on. What goes wrong is the job's outcome."""
        if isinstance(job, ActorCall):
            job.actor.serve(job)
            return
        if self._may_beat:
            self._may_beat = False
            self.later(LOOK, self._beat)
        wrapped = self._follow(job)
        try:
            if job.foreign_context:
                job.context.run(_nothing)  # raises if entered: asyncio would never step the task
            if bridge.active is not None:
                self.tell_bridge(bridge.active, job.context)
            job.home = self
            task = self.make_task(wrapped, job.context, job.name)
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
        """Call something on the loop in so many seconds. On the loop's thread."""
        return self.raw.call_later(seconds, callback, *args, context=self._context)

    def tell_bridge(self, plugin: bridge.Bridge, context: contextvars.Context) -> None:
        """Work in this context, which comes from another thread, begins on the loop."""
        if self.bridged is not plugin:
            self.bridged = plugin
            plugin.loop_opened(self.raw)
        plugin.context_moved(context)

    def make_task(
        self, coro: Coroutine[Any, Any, None], context: contextvars.Context, name: str
    ) -> asyncio.Task[None]:
        """Make a task by the loop's factory, which may be the user's.

        Raises:
            TypeError: The factory has returned something else.
            BaseException: What the factory raised.
        """
        factory: Any = self.raw.get_task_factory()
        # As create_task() does, which names each task by a number first, or fails itself where a
        # factory returns something else.
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
        """Carry the coroutine's outcome to its job; nothing of it goes through the loop."""
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
                current_caller.set(None)  # the job leads to this context: no cycle
            if job.task is not None:
                # It would cost the loop one more turn.
                job.task.remove_done_callback(job.task_ended)
                if job.done:
                    # A timer that was canceled stays on the loop until its time, with its context,
                    # which leads to the job. From there the task would lead to our frames.
                    job.task = None
            del job  # the exception's traceback holds this frame: avoid a cycle

    def _finish_later(self, job: Job, result: Any = None, **outcome: Any) -> None:
        """As `finish()`, when the loop has left the job's context, which is the caller's again."""
        self.raw.call_soon(partial(self.finish, job, result, **outcome), context=self._context)

    def wind_up(self) -> None:
        """The manager is being stopped: end what the loop's thread may wait for in its loop."""
        with self.mutex:
            queued, jobs, followed = list(self.queue), list(self.jobs), list(self._followed)
        for job in queued:
            self.request_cancel(job)
        for job in jobs:
            if job.task not in self.leaving:  # a second time would cut its cleanup short
                self.cancel(job)
        self.leaving.update(job.task for job in jobs if job.task is not None)
        for future in followed:
            future.fail(self.stopped_error(None))

    def cancel(self, job: Job) -> None:
        """Cancel a job's task, unless the job was done before this came here.

        The task of an actor lives on, and is not canceled for a call that it has answered, but
        where the answer came too late for the caller. Where sync code of another coroutine waits
        for it, that one may have canceled it already, by the same deadline.
        """
        if job.task is None:
            # It has ended, or its thread was interrupted in request_cancel().
            if not job.done:
                self.cancel_unstarted(job)
        elif job.released or not job.done:
            job.cut_off = True
            if not (job.quiet and job.task.cancelling()):
                job.task.cancel()


def _nothing() -> None:
    pass
