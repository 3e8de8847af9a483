"""Submitted jobs that end together, when the request that they belong to is over."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING

from wsgi_async.core.base.checks import running_loop
from wsgi_async.core.base.deadlines import Deadline
from wsgi_async.core.base.log import report
from wsgi_async.core.jobs.wait import wait_for
from wsgi_async.core.messages.errors import Closing, OutsideRequestError
from wsgi_async.core.runners.resident import wakeup_here

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsgi_async.core.jobs.job import Job, JobFuture
    from wsgi_async.core.runners.runner import Runner

__all__ = ["Ended", "JobGroup"]


class Ended(OutsideRequestError):
    """A group does not accept jobs any more, and nothing was started."""

    def __str__(self) -> str:
        return (
            "The request that this scope belongs to is over, or its manager was stopped meanwhile. "
            "Use the manager's submit_task() for work that may outlive the request."
        )


class JobGroup:
    """Jobs of one manager that `end()` cancels and waits for. Lives until then; used once only.

    It stands between each job and its future, because a user may fill the future while the task
    still cleans up. All methods may be called from any thread.

    Args:
        runner: Runs the jobs.
        ended: The group never accepts a job.
    """

    inbox = None  # Never changes: end() runs no functions for the jobs.

    def __init__(self, runner: Runner, *, ended: bool = False) -> None:
        # Never changes:
        self._runner = runner
        self._live = runner.live
        # Guarded by `LiveLoop.mutex`. A lock of our own would be a second one: a destructor could
        # need it while it interrupts a thread that holds the first.
        self._ended = ended
        self._jobs: dict[Job, JobFuture] = {}  # the jobs that are not done
        self._entering: set[Job] = set()  # jobs that are not in the loop's queue yet
        self._wake: Callable[[], object] | None = None  # of the thread or coroutine that waits

    # -- for the manager and the loop ----------------------------------------------------------

    def submit(self, runner: Runner, job: Job, future: JobFuture) -> None:
        """Submit a job that ends with the group.

        Args:
            runner: The manager's present runner.
            job: A new job.
            future: Gets the job's outcome.

        Raises:
            Ended: The group has ended, or the manager was stopped since the group was made.
            Closing: The manager is being stopped.
        """
        with self._live.mutex:
            if self._ended or runner is not self._runner:
                raise Ended
            self._jobs[job] = future
            self._entering.add(job)
        job.future = self
        try:
            self._live.submit(job)
        except Closing:
            job.future = None
            self._discard(job)
            raise
        except BaseException:
            self._entered(job)  # a signal handler raised, perhaps after it was queued
            raise
        self._entered(job)

    def _entered(self, job: Job) -> None:
        with self._live.mutex:
            self._entering.discard(job)
            late = self._ended
        # end() skips jobs that are still entering, so one that enters late is canceled here.
        if late:
            self._live.request_cancel(job)

    def waited_for(self, job: Job) -> bool:
        """Whether a thread waits for a job's future right now."""
        with self._live.mutex:
            future = self._jobs.get(job)
        return future is not None and future.waited_for(job)

    def settle(self, job: Job) -> None:
        """Pass the outcome of a job that is done to its future. For the loop."""
        with self._live.mutex:
            future = self._jobs[job]
        try:
            future.settle(job)
        finally:
            self._discard(job)

    def _discard(self, job: Job) -> None:
        with self._live.mutex:
            self._entering.discard(job)
            self._jobs.pop(job, None)
            wake = None if self._jobs else self._wake
        if wake is not None:
            wake()

    # -- for the owner -------------------------------------------------------------------------

    @property
    def done(self) -> bool:
        """Whether no job is left. Read without the mutex: removing the last job wakes us after."""
        return not self._jobs

    def end(self) -> None:
        """Refuse new jobs, cancel those that are left, and wait for all of them together.

        The wait takes at most the manager's grace. A job that does not end is logged by name, and
        continues. A thread that runs an event loop does not wait: the tasks may be on that loop.
        """
        live = self._live
        if live.inherited:
            return  # before the mutex: another thread may have held it at the fork
        with live.mutex:
            self._ended = True
            jobs = [job for job in self._jobs if job not in self._entering]
            idle = not self._jobs
        if idle:
            return
        for job in jobs:
            live.request_cancel(job)
        if running_loop() is None:
            self._wait()
            self._complain()

    def _wait(self) -> None:
        # Not the runner's: that gives up where the loop's own thread does something else for long.
        wakeup = wakeup_here(self._live.primitives)
        try:
            with self._live.mutex:
                self._wake = wakeup.set
            wait_for(self, wakeup, Deadline(self._live.grace))
        finally:
            with self._live.mutex:
                self._wake = None
            wakeup.end()

    async def wait_on_loop(self) -> None:
        """Wait for the jobs after `end()`, as long as it does, in a coroutine on their loop."""
        if self.done or self._live.inherited:
            return
        ended = asyncio.Event()
        with self._live.mutex:
            self._wake = partial(self._live.post, ended.set)  # the last job may end elsewhere
        try:
            async with asyncio.timeout(self._live.grace):
                while not self.done:  # it may have ended before we could be woken
                    await ended.wait()
        except TimeoutError:
            self._complain()
        finally:
            with self._live.mutex:
                self._wake = None

    def _complain(self) -> None:
        with self._live.mutex:
            jobs = list(self._jobs)
        for job in jobs:
            report(
                logging.WARNING,
                "%s: %s did not end within %s s after its request, and continues",
                self._live.status,
                job.label,
                self._live.grace,
            )
