"""The end of a loop: what stop() does, on the loop's thread, within a budget of time.

Tasks get at most half of the budget. Each later step gets a fair part of the time that is left.
Work that does not end in time is logged by name and left behind, and the next steps still run.

Resources are closed after the tasks, because a task may use them until it ends. Each resource has
a step of its own.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
from functools import partial
from types import AsyncGeneratorType
from typing import TYPE_CHECKING, Any

from wsgi_async.core.base.coroutines import name_of
from wsgi_async.core.base.deadlines import Deadline
from wsgi_async.core.base.log import with_origin
from wsgi_async.core.base.primitives import start_thread
from wsgi_async.core.loops.entering import LoopEntry
from wsgi_async.core.loops.open_resources import belongs_to_resource, context_of, resources_of

from .ending import Ending
from .hooks import call_on_stop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from wsgi_async.core.base.settings import Hook
    from wsgi_async.core.loops.live_loop import LiveLoop
    from wsgi_async.core.loops.open_resources import ResourceTask

    from .executor import LoopExecutor

__all__ = ["Shutdown"]

_LEAST = 0.1
"""Seconds that code that has replaced `loop.close()` gets in any case."""


class Shutdown(Ending):
    """One run of the closing steps. Lives until the loop is closed; on the loop's thread only.

    The loop's tasks are listed between two runs of the loop. From Python 3.14 on, the list for a
    running loop contains only the tasks that its own thread has made.

    Args:
        live: The loop to close.
        executor: The loop's default executor.
        budget: Seconds for all steps together.
        on_stop: The user's hook, called first.
    """

    def __init__(
        self,
        live: LiveLoop,
        executor: LoopExecutor,
        *,
        budget: float,
        on_stop: Hook | None = None,
    ) -> None:
        super().__init__(live, Deadline(budget))
        self._loop = live.raw
        self._entry = LoopEntry(live)
        self._executor = executor
        # Tasks that are not waited for again.
        self._left_behind: set[asyncio.Task[Any]] = set()
        self._on_stop = on_stop

    def run(self) -> None:
        """End everything and close the loop. Raises nothing; errors are logged."""
        self._refuse_queued()
        # The user's task factory may fail, and the loop's tasks must end anyway.
        self._loop.set_task_factory(None)
        for step in (
            self._call_on_stop,
            self._end_tasks,
            self._close_resources,
            self._end_resources_tasks,
            self._end_generators,
            self._end_executor,
        ):
            try:
                step()
            except BaseException as error:
                self._report_failure("a step of its stop failed", error)
        self._live.fail_unfinished()
        self._report_cut_off()
        try:
            self._live.loop.give_back(max(_LEAST, self._share(1)))
        except Exception as error:
            self._report_failure("its event loop could not be closed in order", error)
        self._live.fail_unfinished()  # a thread may have begun to wait while it was closing

    def _call_on_stop(self) -> None:
        if self._on_stop is None:
            return
        hook = call_on_stop(
            self._on_stop, lambda error: self._report_failure("its on_stop failed", error)
        )
        self._run(hook, self._share(4), lambda: self._complain("its on_stop"))

    # -- tasks ---------------------------------------------------------------------------------

    def _end_tasks(self) -> None:
        """End all tasks: first those of jobs and actors.

        They cancel their child tasks themselves. A child that we cancel before its first step
        would leave a coroutine behind that was never awaited.
        """
        budget = Deadline(self._share(2))
        actors = {actor.task for actor in self._live.actors if actor.task is not None}
        tracked = {job.task for job in self._live.in_flight() if job.task is not None} | actors
        leaving = self._leaving()
        mine = tracked & self._tasks()
        self._note_all_cut_off(mine)
        _cancel(mine - leaving)
        self._live.leaving.update(mine)  # a resident's wind_up() may still be on the loop
        if mine:
            self._run(_wait(mine), (budget.left() or 0.0) / 2)
        self._cancel_until_none_is_left(budget)

    def _cancel_until_none_is_left(self, budget: Deadline) -> None:
        """Cancel all tasks, again and again: a task that is being canceled may start another."""
        while tasks := self._tasks():
            self._note_all_cut_off(tasks)
            _cancel(tasks)
            left = budget.left() or 0.0
            if not self._run(_wait(tasks), left):
                self._leave_tasks()

    def _note_all_cut_off(self, tasks: Iterable[asyncio.Task[Any]]) -> None:
        for task in tasks:
            self._note_cut_off(task, self._name(task))

    def _name(self, task: asyncio.Task[Any]) -> str:
        """The name of its coroutine: the same for all tasks that do the same."""
        ours = self._live.is_of_job(task) or any(one.task is task for one in self._live.actors)
        return task.get_name() if ours else name_of(task.get_coro())

    def _tasks(self) -> set[asyncio.Task[Any]]:
        """The tasks to end now. Those that a resource has started end with the resource."""
        tasks = asyncio.all_tasks(self._loop) - self._left_behind
        return {task for task in tasks if not belongs_to_resource(task)}

    def _leave_tasks(self) -> None:
        for task in self._tasks():
            self._left_behind.add(task)
            self._complain(self._describe(task))

    def _describe(self, task: asyncio.Task[Any]) -> str:
        for job in self._live.in_flight():
            if job.task is task:
                return job.label
        for actor in self._live.actors:
            if actor.task is task:
                return actor.label
        return with_origin(f"the task {task.get_name()} of {task.get_coro()!r}", context_of(task))

    # -- resources -----------------------------------------------------------------------------

    def _close_resources(self) -> None:
        resources = resources_of(self._loop)
        resources.ending = True
        while tasks := resources.next_to_close():
            # One share for each resource, and two for the steps after them.
            budget = self._share(max(1, len(resources.open)) + 2)
            if not self._run(_end(tasks), budget):
                self._leave_resources(tasks)
            for each in tasks:
                resources.forget(each)
        resources.closed = True

    def _leave_resources(self, resources: list[ResourceTask]) -> None:
        for resource in resources:
            if not resource.task.done():
                self._left_behind.add(resource.task)
                self._complain(f"the loop resource {resource.name}")
                resource.task.cancel()

    def _end_resources_tasks(self) -> None:
        """End the tasks that resources have started and not ended, now that they are closed."""
        self._cancel_until_none_is_left(Deadline(self._share(3)))

    # -- the rest ------------------------------------------------------------------------------

    def _end_generators(self) -> None:
        def late() -> None:
            names = _generators_in(asyncio.all_tasks(self._loop)) or ["an async generator"]
            self._complain(", ".join(names))

        self._run(self._loop.shutdown_asyncgens(), self._share(2), late)

    def _end_executor(self) -> None:
        executor, users = self._executor, self._live.loop.executor
        executor.shutdown(wait=False, cancel_futures=True)
        # Only now: an executor lists a new thread after it has started it, in this thread.
        idents = {thread.ident for thread in getattr(users, "_threads", ())}
        waits_for_stop = executor.waits_for_stop or not idents.isdisjoint(executor.stopping)
        if waits_for_stop or not (executor.used or users):
            return
        # The functions may wait for this loop, which therefore turns until they have returned.
        self._live.fail_unfinished()
        joined = self._loop.create_future()

        def join() -> None:
            executor.shutdown()
            if users is not None:
                users.shutdown()
            self._live.post(_complete, joined)

        try:
            start_thread(join, "wsgi_async executor's end")
        except RuntimeError:  # pragma: no cover - at the interpreter's shutdown
            return  # the interpreter has joined all executors' threads
        late = partial(self._complain, "a function in its default executor")
        self._run(_until(joined), self._share(2), late)
        self._cancel_until_none_is_left(Deadline(self._share(1)))  # their last tasks

    # -- how a step runs -----------------------------------------------------------------------

    def _run(
        self,
        coro: Coroutine[Any, Any, None],
        budget: float,
        late: Callable[[], None] | None = None,
    ) -> bool:
        """Run a step to its end; False if it is not done within its budget of seconds.

        Args:
            coro: The step.
            budget: Seconds.
            late: Called before the step is canceled, if it is not done in time.
        """
        stop = self._live.loop.stop
        # In an empty context, without the variables of the request that has begun the stop: if the
        # loop lives on this thread, this is the request's thread.
        task = self._live.loop.create_task(coro, context=contextvars.Context())
        self._left_behind.add(task)  # our own task: _tasks() must not list it
        task.add_done_callback(lambda _: stop())
        over: list[bool] = []
        timer = self._loop.call_later(budget, _both(over, stop))
        while not (task.done() or over):
            self._entry.enter_again()
        timer.cancel()
        if task.done():
            task.result()
            return True
        if late is not None:
            late()
        task.cancel()
        stop()
        self._entry.enter_again()  # so that the step itself leaves nothing pending
        return False


def _both(over: list[bool], stop: Callable[[], None]) -> Callable[[], None]:
    def cut() -> None:
        over.append(True)
        stop()

    return cut


def _generators_in(tasks: Iterable[asyncio.Task[Any]]) -> list[str]:
    """The names of the async generators that these tasks are closing, as far as we can tell."""
    return [
        generator.__qualname__
        for task in tasks
        for generator in gc.get_referents(*_awaited_by(task.get_coro()))
        if isinstance(generator, AsyncGeneratorType)
    ]


def _awaited_by(coro: object) -> list[object]:
    # asyncio wraps a generator's aclose() in a coroutine, which is a generator up to 3.11.
    frame = getattr(coro, "cr_frame", None) or getattr(coro, "gi_frame", None)
    return [coro] if frame is None else [coro, *frame.f_locals.values()]


def _complete(future: asyncio.Future[None]) -> None:
    if not future.done():  # pragma: no branch - a race
        future.set_result(None)


async def _until(future: asyncio.Future[None]) -> None:
    await future


def _cancel(tasks: Iterable[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()


async def _wait(tasks: Iterable[asyncio.Task[Any]]) -> None:
    await asyncio.wait(tasks)


async def _end(resources: list[ResourceTask]) -> None:
    # All at once: a resource that is opening may wait for another one that is opening too. If only
    # that one ended, the first would open it again.
    for resource in resources:
        resource.end()
    await asyncio.wait([resource.task for resource in resources])
