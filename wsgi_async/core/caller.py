"""A blocked caller: drives the loop for what it waits for, or waits for its turn.

Which of the two, the baton decides. Everything here runs in the caller's own thread.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from .moves import Closing, Leaving, Nested, Verdict

if TYPE_CHECKING:
    from .baton import Baton
    from .driver import Driver
    from .driving import Driving
    from .jobs import Job, Waiter

__all__ = ["Caller"]

# Bound once, as in the baton.
_DRIVE = Verdict.DRIVE
_QUIETLY = Leaving.QUIETLY


class Caller:
    """What threads do that wait for one manager's work. Lives as long as its driver.

    It has no state of its own; callable from any thread that runs no event loop.
    """

    def __init__(self, driver: Driver, driving: Driving) -> None:
        self._driver = driver
        self._drive = driving.drive
        self._limit = driving.limit
        self._baton: Baton = driver.baton
        self._seam = driver.seam
        self._current = driver.seam.current

    def execute(self, job: Job, timeout: float | None) -> None:
        """Bring a new job to its end, or to its timeout and through its cleanup.

        Raises:
            Closing: The manager is being stopped; the job was not taken.
            BaseException: What a signal handler raised in the waiting main thread.
        """
        me = self._current()
        baton = self._baton
        if baton.holder == me and self._drive_nested(me, job, timeout, owned=True):
            return
        try:
            drives = not job.on_keeper and self._may_drive(me)
            verdict = baton.take(me, job, drives=drives)
            if verdict is _DRIVE:
                self._drive(job, timeout, owned=True)
            else:
                self._wait_for_turn(job, timeout, verdict)
        except BaseException:
            # Not where it was refused, or where it came while we drove: that has seen to it.
            waiter = None if job.done else job.waiter
            if waiter is not None and (job.task is None or not waiter.granted):
                self.give_up(waiter)
            raise
        finally:
            # Inside the try from before the baton was taken: no exception can lose it.
            if baton.holder == me:
                self._leave(job)

    def help(self, job: Job, timeout: float | None) -> None:
        """Drive until a submitted job is done or `timeout` is over, where the rules allow it.

        Returns at once where they do not: the future's own wait is all that is left then.
        """
        me = self._current()
        baton = self._baton
        if baton.holder == me and self._drive_nested(me, job, timeout, owned=False):
            return
        waiter: Waiter | None = None
        try:
            verdict, waiter = baton.take_for(me, job, drives=self._may_drive(me))
            if verdict is Verdict.DRIVE:
                self._drive(job, timeout, owned=False)
            elif waiter is not None:
                self._claim(waiter, timeout)
            else:
                self._driver.start_soon()  # nobody else may start what waits in the queue
        finally:
            if waiter is not None and baton.retract(waiter):
                self._driver.start_soon()
            if baton.holder == me:
                self._leave(job)

    def follow(self, job: Job, left: float | None) -> None:
        """Wait for a job that this thread has driven until the keeper took the loop over.

        Args:
            job: The job. Its timeout is a timer on the loop already.
            left: Seconds of that timer.
        """
        waiter = self._baton.follow(self._current(), job)
        if waiter is None:
            return
        try:
            self._block(waiter, None if left is None else self._when_over(left))
            if not (job.done or job.left):
                self._expire(waiter)
        finally:
            self._seam.give_back(waiter.signal)
        if job.done:
            del waiter.job  # no cycle

    def _drive_nested(self, me: int, job: Job, timeout: float | None, *, owned: bool) -> bool:
        """Drive again, for sync code that the driver runs between two visits.

        Returns:
            False if the keeper has taken the loop over from that code in the last moment.
        """
        # Only this thread can make itself the holder, so looking for that needed no mutex. Whether
        # it still is, it finds out under the mutex.
        baton = self._baton
        if baton.closing and owned:
            raise Closing
        nested = baton.own_nested(me, job)
        if nested is Nested.REFUSED:
            return False
        outer = self._driver.target
        if outer is not None:
            baton.keep(outer)  # to be seen by a stop() that comes now
        try:
            self._drive(job, timeout, owned=owned)
        finally:
            baton.keep(job)
            if outer is not None:
                baton.part_with(outer)
            if nested is Nested.DRIVE_IN_PAUSE:
                baton.continue_pause(me)
        return True

    def _may_drive(self, me: int) -> bool:
        baton = self._baton
        if baton.every_waiter_drives:
            return True
        if baton.keeper_only or me != baton.owner:
            # The flag is only ever set, and the baton looks at it again under the mutex.
            return False
        if "sqlalchemy.ext.asyncio" in sys.modules or "greenback" in sys.modules:
            baton.keeper_only = True  # their greenlets belong to one thread, idle ones too
            return False
        # Tasks stepped while an exception is being handled would get it as their __context__.
        return sys.exc_info()[0] is None

    def _wait_for_turn(self, job: Job, timeout: float | None, verdict: Verdict) -> None:
        """Wait until the job is done, or until this thread may drive it itself."""
        waiter = job.waiter
        if waiter is None:
            return  # never: the baton has lined the job up
        deadline = None if timeout is None else self._seam.clock() + timeout
        # Whether the job is done and the waiter in no list: then nobody else looks at its job.
        over = False
        try:
            if verdict is Verdict.CLAIM:
                # A keeper that has left by now has found the claim and granted it.
                self._driver.post(self._driver.keeper_yields)
            else:
                self._driver.start_soon()
            if self._block(waiter, deadline, owned=True):
                self._drive(job, self._left(deadline), owned=True)
                over = job.done
            elif job.done:
                # The baton may be asking one that claims, as it takes it out.
                over = verdict is Verdict.QUEUE and not self._baton.every_waiter_drives
            elif not job.left:
                self._expire(waiter)
        finally:
            if job.timer is not None:
                self._driver.post(job.timer.cancel)
            if self._baton.claims:  # ours may be there; only we add it, so a look is enough
                self._baton.retract(waiter)
            self._seam.give_back(waiter.signal)
        if over:
            del waiter.job  # no cycle

    def _claim(self, waiter: Waiter, timeout: float | None) -> None:
        """Wait for the baton on behalf of a submitted job, and drive."""
        deadline = None if timeout is None else self._seam.clock() + timeout
        try:
            self._driver.post(self._driver.keeper_yields)
            if self._block(waiter, deadline) and not waiter.job.done:
                self._drive(waiter.job, self._left(deadline), owned=False)
        finally:
            self._seam.give_back(waiter.signal)

    def _block(self, waiter: Waiter, deadline: float | None, *, owned: bool = False) -> bool:
        """Wait for the job's end, or for the baton's grant or refusal; whether it is granted.

        Meanwhile run the sync functions that the job has for this thread.

        Args:
            waiter: The wait.
            deadline: When to give up.
            owned: The job is the caller's alone, and is to be cancelled then.
        """
        job, signal, calls = waiter.job, waiter.signal, waiter.job.calls
        while not (job.done or job.left or waiter.granted or waiter.dropped):
            # Looked at after we can be woken, so what comes after the look wakes us.
            # With the time over no more of them: they may come without end.
            if calls is not None and calls.queue and (deadline is None or self._left(deadline)):
                if owned and deadline is not None:
                    # The function may wait without an end for what the job was to bring. So from
                    # now on the loop looks at the time, and cancels the job while this thread is
                    # busy.
                    left = max(0.0, deadline - self._seam.clock())
                    self._driver.post(self._limit, job, left)
                    deadline = self._when_over(left)
                    owned = False
                calls.serve_next()
            elif not signal.wait(None if deadline is None else self._left(deadline)):
                break
        return waiter.granted

    def _when_over(self, left: float) -> float:
        """When to give up on a job whose time the loop counts: a loop that is blocked does not.

        By then the timeout and the grace must be over there.
        """
        return self._seam.clock() + left + 2 * self._driver.grace

    def _left(self, deadline: float | None) -> float | None:
        return None if deadline is None else max(0.0, deadline - self._seam.clock())

    def _expire(self, waiter: Waiter) -> None:
        """The time of a `run()` is over as its thread counts it; the loop may have seen it too."""
        job = waiter.job
        cancelled, job.expired = job.expired, True
        self.give_up(waiter, cancel=not cancelled)

    def give_up(self, waiter: Waiter, *, cancel: bool = True) -> None:
        """Cancel a job whose caller cannot wait any longer, and wait for its cleanup, bounded.

        Args:
            waiter: The caller's wait.
            cancel: The job is not cancelled yet. Twice would interrupt its cleanup.
        """
        job = waiter.job
        if job.done:
            return
        # With the baton granted in this very moment, nobody else can start the job.
        if self._baton.withdraw(job) or (waiter.granted and job.task is None):
            self._driver.cancel_unstarted(job)
            return
        if cancel:
            self._driver.post(self._driver.cancel, job)
        deadline = self._seam.clock() + self._driver.grace
        if self._block(waiter, deadline) and not job.done:
            self._drive(job, self._left(deadline), owned=False)
        if job.left:
            return  # the loop has complained already
        if self._baton.abandon(job):
            self._driver.complain(job)

    def _leave(self, job: Job) -> None:
        baton, driver = self._baton, self._driver
        try:
            if baton.poked:
                # Something came onto the loop past us since the keeper had a look at it. To run
                # it is cheaper than to wake the keeper, unless there is no end to it.
                baton.poked = False
                if not driver.visits.run_ready():
                    baton.poked = True
        finally:
            leaving = baton.leave(job)
            if leaving is not _QUIETLY:
                if leaving is Leaving.TO_KEEPER:
                    driver.wake_keeper()
                else:
                    driver.arm_timer()
