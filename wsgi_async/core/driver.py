"""The driver: what happens on one loop, and what its threads tell each other about it.

A coroutine given to us runs on one thread from its first step to its last. So a caller takes the
baton before it makes its task, and work that cannot end under the caller goes to the keeper
unstarted. Whoever makes a task holds the baton, and never the mutex: a task factory is user code.
"""

from __future__ import annotations

import asyncio
import weakref
from typing import TYPE_CHECKING, Any, Protocol

from .asgiref_locals import move_here
from .caller import Caller
from .driving import Driving
from .log import logger
from .visits import TURNS, Visits

if TYPE_CHECKING:
    from collections.abc import Callable

    from .baton import Baton
    from .hosts import TaskHost
    from .jobs import Job
    from .loops import BoundLoop, WatchedSelector
    from .seam import Seam

__all__ = ["Driver", "Followed", "driver_of"]

# Weak on both sides, as the driver holds its loop.
_drivers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, weakref.ref[Driver]]
_drivers = weakref.WeakKeyDictionary()


def driver_of(loop: asyncio.AbstractEventLoop) -> Driver | None:
    """The driver of a loop that is ours."""
    reference = _drivers.get(loop)
    return None if reference is None else reference()


class Followed(Protocol):
    """A future on the loop that a thread waits for past us."""

    def fail(self, error: RuntimeError) -> None:
        """The loop has ended without it."""


class Driver:
    """Everything about one running loop that its threads share.

    Lives from a manager's `start()` to its `stop()`; a manager that is started again gets a new
    one. Callable from any thread, unless a method says otherwise.

    Args:
        loop: The loop, with its methods bound before they were guarded.
        selector: The loop's selector if it is ours.
        baton: Who may drive it.
        seam: Locks, wake-ups, loop entry, clock.
        wake_keeper: Makes the keeper look at the baton again; takes no lock.
        arm_timer: Makes the linger timer wake the keeper when callers stay away; takes no lock.
        watch_pauses: Makes the timer look how long a driver stays outside for a sync function;
            takes no lock.
        grace: How long a cancelled coroutine may clean up, in seconds.
        label: What to call the manager in the log.
    """

    def __init__(
        self,
        loop: BoundLoop,
        selector: WatchedSelector | None,
        baton: Baton,
        seam: Seam,
        *,
        wake_keeper: Callable[[], None],
        arm_timer: Callable[[], None],
        watch_pauses: Callable[[], None],
        grace: float,
        label: str,
    ) -> None:
        self.loop = loop
        self.selector = selector
        self.visits = Visits(loop, selector, seam, label)
        self.baton = baton
        self.seam = seam
        self.grace = grace
        self.label = label
        self.serves_sync_calls = False  # asgiref has been told of the loop
        self.inherited = False  # we are in a forked child: nobody will ever drive this loop
        # Written by the thread that holds the baton only; for others a hint.
        self.target: Job | None = None  # the job that the present caller drives for
        # Futures on the loop that threads wait for past us; their waiters must not hang.
        self._followed: weakref.WeakSet[Followed] = weakref.WeakSet()
        # The hosts whose tasks live. The loop holds its tasks weakly: this keeps the parked ones.
        # Changed by the thread that holds the baton only.
        self.hosts: set[TaskHost] = set()
        self.wake_keeper = wake_keeper
        self.arm_timer = arm_timer
        # Bound once: these are looked up in every call.
        self._current = seam.current
        self._stop = loop.stop
        self._post = loop.call_soon_threadsafe
        self._create_task = loop.create_task
        self._on_end = self._ended_unseen
        self._start_queued = self.start_queued
        self.caller = Caller(self, Driving(self, watch_pauses))
        _drivers[loop.raw] = weakref.ref(self)

    # -- with the baton: one thread at a time ---------------------------------------------------

    def begin(self, job: Job) -> None:
        """Make the job's task, or have its host go on. The caller holds the baton."""
        if job.host is not None:
            # No cast(): each item of a stream comes by here.
            job.host.serve(job)  # type: ignore[arg-type]
            return
        wrapped = self._follow(job)
        try:
            if job.foreign_context:
                job.context.run(_nothing)  # raises if entered: asyncio would never step the task
            if job is not self.target or job.waiter is not None:
                move_here(job.context)  # it comes from another thread, as a rule
            job.task = task = self._create_task(wrapped, context=job.context)
        except BaseException as error:
            # Whatever it is, it is the job's: who makes the task may be somebody else's driver.
            wrapped.close()
            job.discard()
            self.finish(job, exception=error)
            return
        if not job.done:  # an eager task factory may have run it to its end already
            task.add_done_callback(self._on_end)

    async def _follow(self, job: Job) -> None:
        """Carry the coroutine's outcome to its job; nothing of it goes through the loop."""
        try:
            result = await job.coro
        except asyncio.CancelledError as error:
            self.finish(job, exception=error, cancelled=True)
            if not job.calls_back:
                raise
            # asgiref awaits this task, and goes on without the sync function if that raises.
        except BaseException as error:
            self.finish(job, exception=error)
        else:
            if job.task is not None:
                job.task.remove_done_callback(self._on_end)
            self.answer(job, result)
        finally:
            del job  # the exception's traceback holds this frame: no cycle

    def answer(self, job: Job, result: Any) -> None:
        """On the loop: give a job its result, as `finish()` does."""
        if job is self.target and job.waiter is None and job.future is None:
            # Nobody but the thread that we are in asks for this outcome, so the mutex can be
            # spared. A stop() that gives up on us may write its error beside it: this thread
            # reads them after this, and either is true.
            job.result = result
            job.done = True
            self._stop()
        else:
            self.finish(job, result)

    def _ended_unseen(self, task: asyncio.Task[Any]) -> None:
        """A task ended, perhaps without a first step: somebody may have cancelled it before.

        One callback serves all tasks, and is taken off again when the coroutine has had its
        say: it would cost the next driver a turn of the loop.
        """
        for job in self.in_flight():
            if job.task is task and not job.done:
                job.discard()
                self.finish(job, exception=asyncio.CancelledError(), cancelled=True)

    def in_flight(self) -> list[Job]:
        """The jobs that are started and not done. From any thread, as a hint."""
        with self.baton.mutex:
            jobs = set(self.baton.jobs)
        target = self.target
        if target is not None and not target.done:
            jobs.add(target)
        return list(jobs)

    def start_queued(self) -> None:
        """Start what waits in the queue. The caller holds the baton."""
        # The look needs no mutex: who adds to the queue has the loop look again afterwards.
        while self.baton.queue and (job := self.baton.next_job()) is not None:
            self.begin(job)

    def keeper_yields(self) -> None:
        """On the loop: end the keeper's visit if a caller may drive now.

        A bare `loop.stop` from another thread could land in the next driver's visit. This one
        looks again, on the loop, at who drives and who waits.
        """
        baton = self.baton
        if baton.holder == baton.keeper and baton.keeper_yields():
            self._stop()
        else:
            self.start_queued()

    def end_visit(self) -> None:
        """On the loop, when the manager is being stopped: make whoever drives leave."""
        if self.baton.holder == self.baton.keeper:
            self._stop()
            return
        for job in self.in_flight():
            self.cancel(job)

    def turn_away(self, job: Job) -> None:
        """On the loop: the thread that drives for this job stops doing so."""
        job.left = True  # for an outer job too, which is looked at when the nested call is over
        if self.target is job:
            self._stop()
        elif job.waiter is not None:
            job.waiter.signal.set()

    def call_for(self, job: Job) -> None:
        """On the loop: there is a sync function for the thread that waits for this job.

        If it is the one that drives, the job's other branches first come to where they wait for
        something: the request that one of them sends is then under way meanwhile. A loop that
        cannot tell when nothing is ready is left at once.
        """
        if self.target is job:
            if self.selector is None:
                self._stop()
            else:
                self.selector.leave_soon(self._stop, TURNS)
        elif job.waiter is not None:
            job.waiter.signal.set()

    def cancel(self, job: Job) -> None:
        """On the loop: cancel a job's task, unless the job was done before this came here.

        The task of a host lives on, and is not to be cancelled for a job that it has answered, but
        where the answer came too late for whoever had asked.
        """
        if job.task is not None and (job.abandoned or not job.done):
            job.cut_off = True
            job.task.cancel()

    def complain(self, job: Job) -> None:
        """Log that a job's caller goes on without it."""
        logger.warning(
            "%s: %s did not end within %s s after it was cancelled, and goes on without its caller",
            self.label,
            job.name,
            self.grace,
        )

    # -- from any thread ----------------------------------------------------------------------

    def rename(self, label: str) -> None:
        """What to call the manager from now on, in the log and in errors."""
        self.label = self.visits.label = label

    def submit(self, job: Job, *, linger: bool) -> None:
        """Line up a job for the keeper, or with `linger` for a waiter that comes soon.

        Safe to call from a destructor that interrupted this very thread in the middle of
        anything here.

        Raises:
            Closing: The manager is being stopped.
        """
        me = self._current()
        foreign = me != self.baton.owner and me != self.baton.holder
        start, arm = self.baton.enqueue(job, foreign=foreign, linger=linger)
        if start:
            self.start_soon()
        elif arm:
            self.arm_timer()

    def start_soon(self) -> None:
        """Have the queue started: by the thread that drives, or else by the keeper.

        Who drives may change while we look. A driver that leaves finds the queue and wakes the
        keeper itself, so a look at the holder without the mutex is enough.
        """
        if self.baton.holder is None:
            self.wake_keeper()
            return
        try:
            self._post(self._start_queued)
        except RuntimeError:
            pass  # see post()

    def post(self, callback: Callable[..., object], *args: object) -> None:
        """Call something on the loop, soon; nothing if the loop is closed by now."""
        try:
            self._post(callback, *args)
        except RuntimeError:
            pass  # closed: the shutdown has ended every job already

    def poke(self) -> None:
        """Something came onto the loop past us. Takes no lock: a destructor may come here."""
        # In this order, as a leaving driver clears the holder first and then looks at the flag:
        # one of the two sees the other.
        self.baton.poked = True
        if self.baton.holder is None:
            self.wake_keeper()

    def request_cancel(self, job: Job) -> None:
        """Cancel a job: at once where nobody has started it, else on the loop, soon."""
        if self.baton.withdraw(job):
            self.cancel_unstarted(job)
        else:
            self.post(self.cancel, job)

    def cancel_unstarted(self, job: Job) -> None:
        """End a job that nobody has started and that is in no queue any more."""
        job.discard()
        self.finish(job, exception=asyncio.CancelledError(), cancelled=True)

    def finish(
        self,
        job: Job,
        result: Any = None,
        *,
        exception: BaseException | None = None,
        cancelled: bool = False,
    ) -> None:
        """Give the job its outcome and wake whoever waits for it; the first outcome counts."""
        baton = self.baton
        if cancelled and baton.closing:
            exception, cancelled = self.stopped_error(exception), False
            job.stopped = True
        if not baton.finish(job, result, exception, cancelled):
            return
        if job is self.target:
            # Ends the visit in the same turn of the loop. From another thread (a stop() that
            # has waited long enough), the loop is asked to look.
            if baton.holder == self._current():
                self._stop()
            else:
                self.post(self.turn_away, job)
        if job.waiter is not None:
            job.waiter.signal.set()
        if job.future is not None:
            future, job.future = job.future, None
            future.settle(job)

    def follow(self, future: Followed) -> None:
        """Have a future end when the loop ends."""
        with self.baton.mutex:
            self._followed.add(future)

    def fail_unfinished(self) -> None:
        """Wake everybody who still waits for something of a loop that ends, or ought to."""
        with self.baton.mutex:
            claimed = [waiter.job for waiter in self.baton.claims]
            jobs = {*self.in_flight(), *self.baton.queue, *claimed}
        for job in jobs:
            self.finish(job, exception=asyncio.CancelledError(), cancelled=True)
        with self.baton.mutex:
            followed = list(self._followed)
        for future in followed:
            future.fail(self.stopped_error(None))

    def stopped_error(self, cause: BaseException | None) -> RuntimeError:
        """What a waiter gets whose manager was stopped."""
        error = RuntimeError(
            f"{self.label} was stopped before this call was done. "
            "Start the manager again, or wait for its work before you stop it."
        )
        error.__cause__ = cause
        return error


def _nothing() -> None:
    pass
