"""Submitted jobs that end together, when what they were for is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .checks import running_loop
from .log import logger
from .moves import Closing

if TYPE_CHECKING:
    from .driver import Driver
    from .jobs import Job, JobFuture
    from .seam import Signal

__all__ = ["Ended", "JobGroup"]


class Ended(RuntimeError):
    """A group does not take a job any more, and nothing was started."""

    def __str__(self) -> str:
        return (
            "The request that this scope belongs to is over, or its manager was stopped meanwhile. "
            "submit_task() to the manager what may outlive the request."
        )


class JobGroup:
    """Jobs of one manager that `end()` cancels and waits for. Lives until then, and once only.

    It stands between each job and its future, as a future may count as cancelled while its task
    still cleans up. All methods may be called from any thread.

    Args:
        driver: Runs the jobs.
        ended: It takes none from the beginning.
    """

    __slots__ = ("_driver", "_ended", "_entering", "_jobs", "_signal")

    def __init__(self, driver: Driver, *, ended: bool = False) -> None:
        self._driver = driver
        # All below is guarded by the baton's mutex. One of our own would be a second lock that
        # a destructor can want, which interrupts whoever holds the first.
        self._ended = ended
        self._jobs: dict[Job, JobFuture] = {}  # not done
        self._entering: set[Job] = set()  # those that are not in the baton's queue yet
        self._signal: Signal | None = None  # of the thread that waits in end()

    # -- for the manager and the driver --------------------------------------------------------

    def submit(self, driver: Driver, job: Job, future: JobFuture, *, linger: bool) -> None:
        """As the driver's `submit()`; the job ends with the group.

        Args:
            driver: The manager's present one.
            job: A new job.
            future: What its outcome is for.
            linger: A waiter is given time to come and start it.

        Raises:
            Ended: The group has ended, or is of the manager's life before a `stop()`.
            Closing: The manager is being stopped.
        """
        with driver.baton.mutex:
            if self._ended or driver is not self._driver:
                raise Ended
            self._jobs[job] = future
            self._entering.add(job)
        job.future = self
        try:
            driver.submit(job, linger=linger)
        except Closing:
            job.future = None
            self._discard(job)
            raise
        except BaseException:
            self._entered(job)  # a signal handler raised when it was in the queue, perhaps
            raise
        self._entered(job)

    def _entered(self, job: Job) -> None:
        with self._driver.baton.mutex:
            self._entering.discard(job)
            late = self._ended
        # end() leaves those alone that are on their way in. One of the two sees the other.
        if late:
            self._driver.request_cancel(job)

    def settle(self, job: Job) -> None:
        """Hand the outcome of a job that is done on to its future. For the driver."""
        with self._driver.baton.mutex:
            future = self._jobs[job]
        try:
            future.settle(job)
        finally:
            self._discard(job)

    def _discard(self, job: Job) -> None:
        with self._driver.baton.mutex:
            self._entering.discard(job)
            self._jobs.pop(job, None)
            if self._signal is not None and not self._jobs:
                self._signal.set()

    # -- for the owner -------------------------------------------------------------------------

    def end(self) -> None:
        """Refuse new jobs, cancel those that are left, and wait for all of them together.

        The wait takes as long as the manager's grace at most. Who resists is logged by name, and
        goes on. A thread that runs an event loop does not wait: the tasks may be on that very
        loop.
        """
        driver = self._driver
        if driver.inherited:
            return  # before the mutex: another thread may have held it at the fork
        with driver.baton.mutex:
            self._ended = True
            jobs = [job for job in self._jobs if job not in self._entering]
            idle = not self._jobs
        if idle:
            return
        for job in jobs:
            driver.request_cancel(job)
        if running_loop() is None:
            self._wait(jobs)
            self._complain()

    def _wait(self, jobs: list[Job]) -> None:
        driver = self._driver
        deadline = driver.seam.clock() + driver.grace
        for job in jobs:
            if not job.done:
                # Where this thread may drive, or does so already, perhaps nobody else can.
                driver.caller.help(job, max(0.0, deadline - driver.seam.clock()))
        signal = driver.seam.borrow()
        try:
            with driver.baton.mutex:
                self._signal = signal
            # Read without the mutex: who takes the last one out sets the signal after it.
            while self._jobs:
                if not signal.wait(max(0.0, deadline - driver.seam.clock())):
                    break
        finally:
            with driver.baton.mutex:
                self._signal = None
            driver.seam.give_back(signal)

    def _complain(self) -> None:
        with self._driver.baton.mutex:
            jobs = list(self._jobs)
        for job in jobs:
            logger.warning(
                "%s: %s did not end within %s s after its request, and goes on",
                self._driver.label,
                job.name,
                self._driver.grace,
            )
