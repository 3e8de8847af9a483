"""The baton: the right to run a manager's loop, and who gets it next.

This is the state that the threads share, and the rules of who may drive. Nothing here runs the
loop, user code or anything that blocks: each method holds the mutex for a few steps and returns
what its caller has to do next. `driver.py` and `keeper.py` do it.

The mutex can be entered again by the thread that has it. The garbage collector can run anybody's
destructor between any two steps below, and that destructor may call `submit_task()`, which adds
to the queue (and to nothing else). So each method looks at the queue after it has changed the
holder, never only before.

The mutex is only ever taken by `with`: in the main thread a signal handler may raise between any
two calls, and would leave a lock that was acquired by hand locked for ever.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from .jobs import DROPPED, NEW, QUEUED, STARTED, Waiter
from .moves import Closing, KeeperMove, Leaving, Nested, Verdict

if TYPE_CHECKING:
    from .jobs import Job
    from .seam import Seam

__all__ = ["NOBODY", "Baton"]

NOBODY = 0
"""The owner of a baton whose own thread has ended; the name of no thread."""


# Bound once: up to 3.11 a look-up in an enum class costs as much as a lock.
_DRIVE = Verdict.DRIVE
_QUIETLY = Leaving.QUIETLY


class Baton:
    """Who drives one loop, who waits for that, and the work that nobody has started yet.

    Lives from a manager's `start()` to its `stop()`. Callable from any thread.

    Args:
        seam: Where the mutex and the clock come from.
        owner: The manager's own thread, as `seam.current()` names it.
        every_waiter_drives: `drive="caller"`: no condition but the baton itself.
        keeper_only: `drive="keeper"` and its like: no caller ever drives.
        keeper_rests: With nothing to do the keeper stays in the loop, as it cannot watch it.
    """

    def __init__(
        self,
        seam: Seam,
        owner: int,
        *,
        every_waiter_drives: bool,
        keeper_only: bool,
        keeper_rests: bool = False,
    ) -> None:
        self.mutex = seam.mutex()
        self._borrow = seam.borrow
        self.clock = seam.clock
        # Read without the mutex: a thread only asks whether it is the owner itself, and none but
        # the thread itself makes that true or untrue.
        self.owner = owner
        self.every_waiter_drives = every_waiter_drives
        self.keeper_rests = keeper_rests
        # All below is guarded by the mutex. Where it is read without, as a hint, the reader
        # says why that is enough.
        self.holder: int | None = None  # who drives
        self.keeper = 0  # the keeper's name, once it runs
        self.jobs: set[Job] = set()  # started, not done, and not the present driver's own
        self.queue: deque[Job] = deque()  # not started
        self.claims: deque[Waiter] = deque()  # who waits to drive
        self.keeper_only = keeper_only
        self.last_use = 0.0  # when a caller left, or work was queued for a waiter to start
        self.armed = False  # the linger timer knows of us
        self._last_seen = 0.0  # the last use that the timer has seen while somebody drove
        self.due = False  # the linger is over: the keeper has a look at the loop
        self.poked = False  # something came in past us; written without the mutex, see poke()
        self.paused: float | None = None  # since when the holder runs a sync function outside
        self._last_pause = 0.0
        self._pauses_watched = False  # the timer knows that there are pauses
        self.closing = False  # stop() was called, or the owner has ended; never unset

    # -- callers ---------------------------------------------------------------------------

    def take(self, me: int, job: Job, *, drives: bool) -> Verdict:
        """Ask for the baton to run a new job; where it is not to be had, line the job up.

        Raises:
            Closing: The job was not taken.
        """
        with self.mutex:
            if self.closing:
                raise Closing
            # keeper_only once more: it may have been set since the caller looked.
            if drives and self.holder is None and not (self.keeper_only or self.jobs or self.queue):
                self.holder = me
                job.state = STARTED
                return _DRIVE
            return self._line_up(me, job, drives)

    def _line_up(self, me: int, job: Job, drives: bool) -> Verdict:
        if self.every_waiter_drives and self.holder is None:
            self.holder = me
            job.state = STARTED
            return Verdict.DRIVE
        job.waiter = waiter = Waiter(me, job, self._borrow())
        if self.every_waiter_drives:
            self.claims.append(waiter)
            if self.holder == self.keeper:
                return Verdict.CLAIM
            # Another caller drives. Its coroutine may be waiting for this one, so the job starts
            # under it. Who drives after it, may be we.
        elif me != self.owner:
            # Shared by a second thread: only the keeper from now on. A thread that runs sync code
            # for a coroutine of this loop, and calls back, is no second user.
            self.keeper_only = self.keeper_only or not job.calls_back
        elif drives and self.holder == self.keeper and self.may_claim():
            self.claims.append(waiter)
            return Verdict.CLAIM
        job.state = QUEUED
        self.queue.append(job)
        return Verdict.QUEUE

    def take_for(self, me: int, job: Job, *, drives: bool) -> tuple[Verdict, Waiter | None]:
        """Ask for the baton to bring a submitted job to its end; a claim's waiter with CLAIM."""
        with self.mutex:
            over = job.done or job.state is DROPPED or self.closing
            if over or not drives or self.keeper_only:
                return Verdict.QUEUE, None
            alone = not self.jobs and len(self.queue) == 1 and self.queue[0] is job
            if self.holder is None and (self.every_waiter_drives or alone):
                self.holder = me
                self._own(job)
                return Verdict.DRIVE, None
            if not (self.every_waiter_drives or (alone and self.holder == self.keeper)):
                return Verdict.QUEUE, None
            if alone and self.holder == self.keeper:
                self.queue.remove(job)  # alone, unless a destructor has come by since
                job.state = NEW  # the claim has it now: the keeper is asked to leave, not to start
            # Under another caller it stays in the queue: that one's coroutine may wait for it.
            waiter = Waiter(me, job, self._borrow())
            self.claims.append(waiter)
            return Verdict.CLAIM, waiter

    def retract(self, waiter: Waiter) -> bool:
        """The thread does not want the baton any more; whether somebody has to start its job.

        If the baton was granted in the same moment, the thread has it, and passes it on.
        """
        with self.mutex:
            if waiter not in self.claims:
                return False
            self.claims.remove(waiter)
            return self._queue_unseen(waiter.job)

    def withdraw(self, job: Job) -> bool:
        """Take a job out of the queue; True if nobody had started it, and nobody will.

        True as well for one that was taken out before and has no outcome: a signal handler may
        have raised in between.
        """
        with self.mutex:
            if job.state is DROPPED:
                return not job.done
            if job.state is STARTED:
                return False
            if job in self.queue:
                self.queue.remove(job)
            job.state = DROPPED
            self.jobs.add(job)  # until it has its outcome, to be seen by a stop()
            return True

    def own_nested(self, me: int, job: Job) -> Nested:
        """The driver calls again, from between two visits: the job is its own too."""
        with self.mutex:
            if self.holder != me:
                return Nested.REFUSED  # taken over between the caller's look and this
            if job.state is not DROPPED:
                self._own(job)
            paused, self.paused = self.paused, None
            return Nested.DRIVE if paused is None else Nested.DRIVE_IN_PAUSE

    # -- pauses ----------------------------------------------------------------------------

    def pause(self, job: Job) -> bool:
        """The driver leaves the loop to run a sync function; whether the timer has to be armed.

        Args:
            job: What it drives for. It counts as work in flight meanwhile, to be seen by a stop()
                and by whoever takes over.
        """
        with self.mutex:
            self.jobs.add(job)
            self.paused = self._last_pause = self.clock()
            watched, self._pauses_watched = self._pauses_watched, True
            return not watched

    def resume(self, me: int, job: Job) -> bool:
        """The sync function is over; False if somebody has taken the loop over meanwhile."""
        with self.mutex:
            if self.holder != me:
                return False
            self.jobs.discard(job)
            self.paused = None
            return True

    def continue_pause(self, me: int) -> None:
        """The sync function has driven the loop itself, and goes on outside of it."""
        with self.mutex:
            if self.holder == me:
                self.paused = self._last_pause = self.clock()

    def take_over(self, limit: float) -> tuple[bool, float | None]:
        """For the timer: take the baton from a driver that has paused for `limit` seconds.

        Returns:
            Whether it was taken, and when to ask again; None when there is no need (see
            `pause`).
        """
        with self.mutex:
            # While pauses come and go, do not make each of them arm us anew.
            until = limit + (self._last_pause if self.paused is None else self.paused)
            if until > self.clock():
                return False, until
            self._pauses_watched = False
            if self.paused is None:
                return False, None
            self.paused = self.holder = None
            self.poked = True
            self._grant()
            return True, None

    def follow(self, me: int, job: Job) -> Waiter | None:
        """The driver that was taken over waits for its job now; None if that is done."""
        with self.mutex:
            if job.done:
                return None
            job.waiter = waiter = Waiter(me, job, self._borrow())
            return waiter

    def leave(self, job: Job) -> Leaving:
        """Give the baton back, and say whom to tell."""
        with self.mutex:
            if not job.done:
                self.jobs.add(job)  # moves once, to whoever drives next
            self.last_use = self.clock()
            # Clear the holder first, then look again: whoever adds work after this line sees
            # that nobody drives and wakes the keeper, whoever added it before is seen here.
            self.holder = None
            if self.claims and self._grant():
                return _QUIETLY
            if self.queue or self.jobs or self.poked or self.closing or self.keeper_only:
                return Leaving.TO_KEEPER
            if self.armed:
                return _QUIETLY
            self.armed = True
            return Leaving.TO_TIMER

    def _grant(self) -> bool:
        """Hand the free baton to the first claimant that still wants it."""
        while self.claims:
            waiter = self.claims.popleft()
            job = waiter.job
            if job.done or job.state is DROPPED or not self.may_claim():
                self._drop(waiter)
                continue
            self.holder = waiter.thread
            self._own(job)
            # The new driver's coroutine may wait for what the others came with. It looks at the
            # queue without the mutex, so before it is told that it drives.
            for other in self.claims:
                self._queue_unseen(other.job)
            waiter.granted = True
            waiter.signal.set()
            return True
        return False

    def _own(self, job: Job) -> None:
        """A job becomes the new driver's own."""
        if job in self.queue:
            self.queue.remove(job)
        self.jobs.discard(job)
        job.state = STARTED

    def _drop(self, waiter: Waiter) -> None:
        """A claimant that is in the list no more cannot be served."""
        self._queue_unseen(waiter.job)
        if waiter.job.waiter is not waiter:
            # It came to help, and its future waits on. Who is in run() waits for the job's end,
            # which wakes it.
            waiter.dropped = True
            waiter.signal.set()

    def _queue_unseen(self, job: Job) -> bool:
        """The claimant of a new job cannot be served: whoever drives takes the job."""
        if job.done or job.state is not NEW:
            return False
        job.state = QUEUED
        self.queue.append(job)
        return True

    def may_claim(self) -> bool:
        """Whether a claimant can be served now, or has to leave its job to the keeper."""
        if self.closing:
            return False
        return self.every_waiter_drives or not (self.jobs or self.queue or self.keeper_only)

    # -- the owner -------------------------------------------------------------------------

    def disown(self) -> None:
        """The owner's thread is ending. Takes no lock; only for the owner, in its last moment.

        The next thread may well be given the same ident, and would be taken for the owner.
        """
        self.owner = NOBODY

    def adopt(self, me: int) -> bool:
        """Make the calling thread the owner; False if there is one, or the manager is stopping.

        That a second thread has used the manager (`keeper_only`) stays true: it may come again.
        """
        with self.mutex:
            if self.closing or self.owner != NOBODY:
                return False
            self.owner = me
            return True

    # -- work ------------------------------------------------------------------------------

    def enqueue(self, job: Job, *, foreign: bool, linger: bool) -> tuple[bool, bool]:
        """Line up a submitted job; whether the keeper must start it, and whether to arm.

        With `linger` a waiter is given time to come and start it, as long as nobody drives, or
        only the keeper that rests in the loop.
        """
        with self.mutex:
            if self.closing:
                raise Closing
            if foreign and not self.every_waiter_drives:
                self.keeper_only = True
            resting = self.keeper_rests and self.holder == self.keeper
            free = self.holder is None or (resting and not self.jobs and not self.queue)
            job.state = QUEUED
            self.queue.append(job)
            if not linger or self.keeper_only or not free:
                return True, False
            if self.armed:
                return False, False
            self.armed = True
            self.last_use = self.clock()
            return False, True

    def next_job(self) -> Job | None:
        """The next job to start, for the thread that holds the baton."""
        with self.mutex:
            if not self.queue:
                return None
            job = self.queue.popleft()
            job.state = STARTED
            self.jobs.add(job)
            return job

    def finish(
        self, job: Job, result: object, exception: BaseException | None, cancelled: bool
    ) -> bool:
        """Give a job its outcome; False if it has one already."""
        with self.mutex:
            if job.done:
                return False
            job.result = result
            if exception is not None:
                job.exception, job.cancelled = exception, cancelled
            self.jobs.discard(job)
            job.done = True
            for waiter in self.claims:
                if waiter.job is job:
                    waiter.signal.set()
            return True

    def abandon(self, job: Job) -> bool:
        """The job's caller goes without its outcome; False if it has one by now."""
        with self.mutex:
            job.abandoned = not job.done
            return job.abandoned

    def part_with(self, job: Job) -> None:
        """A job that was kept is its driver's own again."""
        with self.mutex:
            self.jobs.discard(job)

    def keep(self, job: Job) -> None:
        """Count a job that its driver leaves unfinished as work for whoever drives next."""
        with self.mutex:
            if not job.done:
                self.jobs.add(job)

    # -- the keeper --------------------------------------------------------------------------

    def keeper_move(self, *, watchable: bool) -> KeeperMove:
        """Decide what the keeper does, and give it the baton where it needs it."""
        with self.mutex:
            if self.holder is not None:
                return KeeperMove.PARK
            if self.closing:
                self.holder = self.keeper
                return KeeperMove.CLOSE
            if self.queue or self.jobs or self.due or self.poked or self.keeper_only:
                self.holder = self.keeper
                self.due = self.poked = False
                return KeeperMove.DRIVE
            return KeeperMove.WATCH if watchable else KeeperMove.PARK

    def keeper_may_idle(self) -> bool:
        """Whether the keeper, about to block in the loop, gives the baton back instead."""
        if self.jobs:
            return False  # without the mutex: while the keeper drives, only it adds here
        with self.mutex:
            return not (self.keeper_only or self.jobs or self.queue or self.closing)

    def look(self) -> None:
        """Something on the loop may be ready: the keeper drives at its next move."""
        with self.mutex:
            self.due = True

    def keeper_leaves(self, *, at_rest: bool) -> None:
        """Give the keeper's baton back, to a claimant if there is one.

        What is left to do, the keeper finds itself: it asks for its next move after this.
        Where a claimant comes first and nothing says that the loop is at rest, what was poked,
        and perhaps not even visited, is handed on to the claimant.
        """
        with self.mutex:
            if not at_rest:
                self.poked = True
            self.holder = None
            self._grant()

    def keeper_yields(self) -> bool:
        """Whether a claimant waits that can be served; the others' jobs go into the queue."""
        with self.mutex:
            if not self.claims:
                return False
            if self.may_claim():
                return True
            while self.claims:
                self._drop(self.claims.popleft())
            return False

    # -- the linger timer -----------------------------------------------------------------------

    def linger_over(self, linger: float) -> float | None:
        """For the timer: when to ask again, or None when it need not (see `due`)."""
        with self.mutex:
            now = self.clock()
            # A keeper that rests in the loop may have left a job to its waiter.
            if self.holder is None or (self.queue and self.holder == self.keeper):
                if self.last_use + linger > now:
                    return self.last_use + linger
                self.due = True
            elif self.last_use != self._last_seen:
                # Calls come and go, and one is under way: do not make each of them arm us anew.
                self._last_seen = self.last_use
                return now + linger
            # Nothing to wait for, or one long call, which arms the timer when it leaves.
            self.armed = False
            return None
