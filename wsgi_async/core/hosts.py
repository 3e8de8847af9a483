"""Hosts: tasks of ours on the loop that outlive a call, and go on when a thread asks them to.

What has to happen in one task (all of an async generator, a context manager's enter and exit) and
is asked for in several calls runs in a host. Between two calls it is parked on a future: nobody
steps it, and the manager does not count it as work in flight. A call to it is a job like any
other, so who steps it is decided as for `run()`; a host that the keeper has stepped once stays
with the keeper.
"""

from __future__ import annotations

import asyncio
import contextlib
from sys import modules
from typing import TYPE_CHECKING, Any

from .asgiref_locals import move_here
from .checks import refuse_in_event_loop, refuse_inherited, running_loop
from .jobs import HostJob
from .log import logger
from .moves import Closing
from .running import serve_sync_calls
from .sync_calls import SyncCalls, current_calls

if TYPE_CHECKING:
    import contextvars

    from .driver import Driver

__all__ = ["TaskHost"]


class TaskHost:
    """One task that serves one job after another. Lives until its task ends.

    The threads that call it take turns. `job`, `task` and what subclasses add is written by the
    thread that holds the baton, unless they say otherwise.

    Args:
        driver: Whose loop it is on.
        context: The context that its task runs in.
        name: What to call it in the log.
    """

    def __init__(self, driver: Driver, context: contextvars.Context, name: str) -> None:
        self.driver = driver
        self.name = name
        self.task: asyncio.Task[None] | None = None
        # What it is doing, and whose thread runs its sync functions.
        self.job: HostJob | None = None
        self.on_keeper = False  # the keeper has stepped it; nobody else will
        self.begun = False  # a thread that may wait has asked for a job, which a stop may refuse
        self.leaving = False  # it closes what it hosts, or is about to
        self.ended = False
        self.context = context
        # Pending while it is parked, else done; None before it parks for the first time.
        self._turn: asyncio.Future[None] | None = None
        # What sync functions its coroutines call, for the thread that calls it.
        self.calls = SyncCalls(driver, None)
        context.run(current_calls.set, self.calls)

    ahead = False
    """Whether it works between its jobs too, for a thread that comes, or waits past the jobs."""

    def wake_waiter(self) -> None:
        """On the loop: there is a sync function for that thread."""

    # -- in the calling thread ---------------------------------------------------------------

    def call(self, job: HostJob, instead: str, timeout: float | None = None) -> Any:
        """Have a job done, and return what it brings or raise what it raises.

        Args:
            job: The job.
            instead: What a coroutine would do instead.
            timeout: Seconds until the whole host is cancelled.

        Raises:
            TimeoutError: The time was over.
            RuntimeError: The manager was stopped, the process was forked, or this thread runs an
                event loop.
        """
        driver = self.driver
        # Asked here already, as each item of a stream comes by.
        if running_loop() is not None:
            refuse_in_event_loop(instead)
        if driver.inherited:
            refuse_inherited(driver)
        self.serve_sync_functions()
        job.calls = calls = self.calls
        self.begun = True
        end_wait = None if calls.background is None else calls.begin_wait(job)
        try:
            driver.caller.execute(job, timeout)
        except Closing:
            raise self.driver.stopped_error(None) from None
        finally:
            if end_wait is not None:
                end_wait()
        # First, as the outcome comes before it. Where the job was done in the same moment as its
        # time was over, what it brings must not be lost.
        late = job.abandoned or not job.done
        error = job.exception
        in_vain = late or job.cancelled or (error is None and job.cut_off)
        if job.expired and not job.stopped and in_vain:
            raise TimeoutError(
                f"{self.name} was not done in time, and was cancelled. Give it more time."
            )
        if error is None:
            return job.result
        try:
            raise error
        finally:
            job.exception = None
            del error, job  # the traceback holds this frame: no cycle

    def serve_sync_functions(self) -> None:
        """Have asgiref ask for the calling thread, where it has been imported by now."""
        if "asgiref.sync" in modules and not self.driver.serves_sync_calls:
            serve_sync_calls(self.driver)

    def abandon(self) -> None:
        """Cancel the task, soon. From any thread, from a destructor too; takes no lock."""
        # In a forked child the loop's sockets are shared with the parent process.
        if not (self.ended or self.driver.inherited):
            # The guarded method, which has the keeper look.
            with contextlib.suppress(RuntimeError):  # closed: all has ended
                self.driver.loop.raw.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        self.leaving = True
        if self.task is None:
            self.ended = True  # before its first job has come
        else:
            self.task.cancel()

    # -- with the baton ----------------------------------------------------------------------

    def serve(self, job: HostJob) -> None:
        """Go on for this job; the task is made for the first."""
        driver = self.driver
        if driver.baton.holder == driver.baton.keeper:
            self.on_keeper = True
        if self.ended or self.job is not None:
            self.refuse(job)
            return
        self.job = self.calls.job = job
        if self.task is None:
            self._begin(job)
            return
        job.task = self.task
        turn = self._turn
        # Else it was cancelled between two jobs, and what comes of that is the answer.
        if turn is not None and not turn.done():
            turn.set_result(None)

    def refuse(self, job: HostJob) -> None:
        """It is at another job, or has ended."""
        if self.job is not None and not self.ended:
            self.driver.finish(job, exception=self.busy_error())
        else:
            self.driver.finish(job, exception=asyncio.CancelledError(), cancelled=True)

    def busy_error(self) -> RuntimeError:
        """What a second thread gets that calls it in the midst of another's call."""
        return RuntimeError(
            f"{self.name} is busy with the call of another thread. Let one thread use it at a time."
        )

    def _begin(self, job: HostJob) -> None:
        coro = self._host()
        try:
            move_here(self.context)
            self.task = job.task = self.driver.loop.create_task(
                coro, context=self.context, name=self.name
            )
        except BaseException as error:
            # A task factory's, for one. Whatever it is, it is the caller's.
            coro.close()
            self.ended = True
            self.driver.finish(job, exception=error)
            return
        if self.ended:
            self.task = None  # an eager task factory has run it to its end already
            return
        if self.ahead:
            self.calls.wake = self.wake_waiter
        self.driver.hosts.add(self)
        self.task.add_done_callback(self._ended_unseen)

    def _ended_unseen(self, _: object) -> None:
        """The task has ended, perhaps without a first step: somebody has cancelled it before."""
        self.task = None  # which holds its CancelledError, and that our frames: no cycle
        if not self.ended:
            self.ended = True
            self.driver.hosts.discard(self)
            self.fail(asyncio.CancelledError(), cancelled=True)

    # -- in the task ---------------------------------------------------------------------------

    async def _host(self) -> None:
        try:
            await self.live()
        except asyncio.CancelledError as error:
            self.fail(error, cancelled=True)
            raise
        except BaseException as error:
            # Nothing of it goes through the loop: SystemExit would end whoever drives.
            self.fail(error)
        finally:
            self.ended = True
            self.driver.hosts.discard(self)
            self.calls.abandon()

    async def live(self) -> None:
        """Do the jobs; what it raises ends the host, and goes to the job it is doing."""
        raise NotImplementedError

    def park(self) -> asyncio.Future[None]:
        """What to await before the next job; it is cancelled if the host is to end without one."""
        # No coroutine: each item of a stream comes by here, and would step one more.
        self._turn = turn = self.driver.loop.raw.create_future()
        return turn

    def answer(self, result: Any = None) -> None:
        """The job is done."""
        job, self.job = self.job, None
        self.calls.job = None
        if job is not None:
            self.driver.answer(job, result)

    def fail(self, error: BaseException, *, cancelled: bool = False) -> None:
        """The job has failed; where nobody asked for one, the error is logged."""
        job, self.job = self.job, None
        self.calls.job = None
        if job is not None:
            self.driver.finish(job, exception=error, cancelled=cancelled)
        elif not cancelled:
            logger.error("%s: %s failed", self.driver.label, self.name, exc_info=error)
