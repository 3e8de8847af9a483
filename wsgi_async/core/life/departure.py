"""The end of a manager on a loop that other code runs: its own work ends, the loop continues.

It does the same as `Shutdown` on our own loops, with the same shares of the time, but as a task.
"""

from __future__ import annotations

import asyncio
import contextvars
from typing import TYPE_CHECKING, Any

from wsgi_async.core.base.checks import running_loop
from wsgi_async.core.base.deadlines import Deadline
from wsgi_async.core.loops.open_resources import belongs_to_resource, known_resources

from .ending import Ending
from .hooks import call_on_stop

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine

    from wsgi_async.core.base.settings import Hook
    from wsgi_async.core.loops.live_loop import LiveLoop
    from wsgi_async.core.loops.open_resources import ResourceTask

__all__ = ["Departure"]


class Departure(Ending):
    """One run of the closing steps. Lives as long as the manager is started; on the loop's thread.

    Args:
        live: The loop whose work ends.
        budget: Returns how many seconds all steps have together.
        on_stop: The user's hook, called first.
        ended: Called after the last step.
    """

    def __init__(
        self,
        live: LiveLoop,
        *,
        budget: Callable[[], float],
        on_stop: Hook | None,
        ended: Callable[[], None],
    ) -> None:
        super().__init__(live, Deadline())
        self._budget = budget
        self._on_stop = on_stop
        self._ended = ended
        self._task: asyncio.Task[None] | None = None
        self._over = False

    def begin(self) -> None:
        """Begin, unless it has begun. On the loop, or without it if the loop has already ended."""
        if self._over:
            return  # the loop is closed later, and the manager may have been started again
        if running_loop() is not self._live.raw:
            self._fail_all()
        elif self._task is None:
            self._deadline = Deadline(self._budget())
            # In an empty context, without the variables of the request that has begun it.
            self._task = asyncio.Task(
                self._run(), loop=self._live.raw, context=contextvars.Context(), name="stop"
            )

    def give_up(self) -> asyncio.Task[None] | None:
        """As `begin()`, after a failed `on_start`: `on_stop` is not called. Return the task."""
        self._on_stop = None
        self.begin()
        return self._task

    async def _run(self) -> None:
        try:
            await self._steps()
        finally:
            self._fail_all()

    def _fail_all(self) -> None:
        """No more work runs on the loop: wake every thread that waits for it."""
        live = self._live
        live.closing = True
        with live.mutex:
            queued = list(live.queue)
            live.queue.clear()
        for job in queued:
            live.cancel_unstarted(job)
        live.fail_unfinished()
        self._over = True
        self._ended()

    async def _steps(self) -> None:
        self._refuse_queued()
        # The tasks twice: those that a resource has started end after it.
        tasks = self._end_tasks
        for step in (self._call_on_stop, tasks, self._close_resources, tasks):
            try:
                await step()
            except Exception as error:
                self._report_failure("a step of its stop failed", error)
        self._report_cut_off()

    async def _call_on_stop(self) -> None:
        if self._on_stop is not None:
            hook = call_on_stop(
                self._on_stop, lambda error: self._report_failure("its on_stop failed", error)
            )
            await self._bounded(hook, self._share(4), "its on_stop")

    async def _end_tasks(self) -> None:
        """Cancel the tasks of calls and streams, and wait for their cleanup.

        A task that a resource has started runs until the resource is closed.
        """
        jobs = {job.task: job.label for job in self._live.in_flight() if job.task is not None}
        actors = {one.task: one.label for one in self._live.actors if one.task is not None}
        tasks = {
            task: label
            for task, label in {**jobs, **actors}.items()
            if task not in self._cut_off and not belongs_to_resource(task)
        }
        tasks.pop(asyncio.current_task(), None)  # type: ignore[arg-type]
        leaving = self._leaving()
        for task in tasks:
            self._note_cut_off(task, task.get_name())
            if task not in leaving:
                task.cancel()
        await self._wait(tasks, self._share(2))
        for task, label in tasks.items():
            if not task.done():
                self._complain(label)

    async def _close_resources(self) -> None:
        resources = known_resources(self._live.raw)
        if resources is None:
            return
        # Only those of now: the loop's other tasks continue, and may open a resource again at once.
        steps = [list(resources.opening.values()), *([one] for one in reversed(resources.open))]
        for done, owners in enumerate(steps):
            await self._end(owners, self._share(len(steps) - done + 1))
            for owner in owners:
                resources.forget(owner)

    async def _end(self, owners: list[ResourceTask], seconds: float) -> None:
        for owner in owners:
            owner.end()
        await self._wait([owner.task for owner in owners], seconds)
        for owner in owners:
            if not owner.task.done():
                self._complain(f"the loop resource {owner.name}")
                owner.task.cancel()

    async def _bounded(self, coro: Coroutine[Any, Any, None], seconds: float, what: str) -> None:
        try:
            task = self._live.loop.create_task(coro)
        except BaseException:  # an error of a task factory
            coro.close()
            raise
        await self._wait([task], seconds)
        if task.done():
            task.result()
        else:
            self._complain(what)
            task.cancel()

    async def _wait(self, tasks: Collection[asyncio.Task[Any]], seconds: float) -> None:
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)
