"""The end of a loop: what stop() does, in the keeper's thread, within a budget of time.

Tasks get at most half of the budget, and each later step a fair part of what is left. What does
not end in its time is logged by name and left behind; the steps after it are taken all the same.

Resources are closed after the tasks, which may use them to the last, each with a step of its own.
"""

from __future__ import annotations

import asyncio
import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import AsyncGeneratorType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from .households import belongs_to_host, household_of
from .log import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from concurrent.futures import Future

    from .driver import Driver
    from .households import ResourceHost

__all__ = ["LoopExecutor", "Shutdown"]

P = ParamSpec("P")
T = TypeVar("T")


class LoopExecutor(ThreadPoolExecutor):
    """A loop's default executor. Lives as long as the loop.

    Our own, since up to 3.11 a `loop.shutdown_default_executor()` cannot be given up: it joins.
    """

    used = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """As the base class."""
        self.used = True
        return super().submit(fn, *args, **kwargs)


class Shutdown:
    """One run of the closing steps. Lives until the loop is closed; in the keeper's thread only.

    Args:
        driver: Whose loop is closed; the calling thread holds its baton.
        executor: The loop's default executor.
        budget: Seconds for all steps together.
    """

    def __init__(self, driver: Driver, executor: LoopExecutor, *, budget: float) -> None:
        self._driver = driver
        self._loop = driver.loop.raw
        self._executor = executor
        self._step: asyncio.Task[None] | None = None  # the closing step's own task
        self._left_behind: set[asyncio.Task[Any]] = set()  # complained of, and not waited for again
        self._clock = driver.seam.clock
        self._deadline = self._clock() + budget

    def run(self) -> None:
        """End everything and close the loop. Raises nothing; what goes wrong is logged."""
        self.refuse_queued()
        self._loop.set_task_factory(
            None
        )  # the user's may fail, and its tasks must end all the same
        for step in (
            self._end_tasks,
            self._close_resources,
            self._end_resources_tasks,
            self._end_generators,
            self._end_executor,
        ):
            try:
                step()
            except Exception:
                logger.exception("%s: a step of its stop failed", self._driver.label)
        self._driver.fail_unfinished()
        self._close_loop()

    def _share(self, steps: int) -> float:
        """The seconds of the next step, if so many have to share what is left."""
        return max(0.0, self._deadline - self._clock()) / steps

    def refuse_queued(self) -> None:
        """End what nobody has started; nothing can be added any more."""
        while (job := self._driver.baton.next_job()) is not None:
            self._driver.cancel_unstarted(job)

    def _end_tasks(self) -> None:
        budget = self._share(2)
        tracked = {job.task for job in self._driver.in_flight() if job.task is not None}
        tracked |= {host.task for host in self._driver.hosts if host.task is not None}

        async def end() -> None:
            # First those that are nobody's child. They cancel their own: a child that is
            # cancelled before its first step leaves a coroutine behind that was never awaited.
            mine = tracked & self._tasks()
            # What a host has begun to close is not cut short, as little as any other cleanup.
            leaving = {host.task for host in self._driver.hosts if host.leaving}
            for task in mine - leaving:
                task.cancel()
            if mine:
                await asyncio.wait(mine, timeout=budget / 2)
            # A task that is being cancelled may start another: look again until none is left.
            while others := self._tasks():
                for task in others:
                    task.cancel()
                await asyncio.wait(others)

        self._drive(end(), budget, self._leave_tasks)

    def _tasks(self) -> set[asyncio.Task[Any]]:
        """What is to end now: not what a resource has started, which goes with the resource."""
        tasks = asyncio.all_tasks(self._loop) - self._left_behind - {self._step}
        return {task for task in tasks if not belongs_to_host(task)}

    def _leave_tasks(self) -> None:
        for task in self._tasks():
            self._left_behind.add(task)
            self._complain(self._describe(task))

    def _close_resources(self) -> None:
        household = household_of(self._loop)
        household.ending = True
        while hosts := household.next_to_close():
            # As many parts as there are resources, and two for the steps after them.
            budget = self._share(max(1, len(household.hosts)) + 2)
            self._drive(_end(hosts), budget, partial(self._leave_hosts, hosts))
            for host in hosts:
                household.forget(host)
        household.closed = True

    def _leave_hosts(self, hosts: list[ResourceHost]) -> None:
        for host in hosts:
            if not host.task.done():
                self._left_behind.add(host.task)
                self._complain(f"the loop resource {host.name}")
                host.task.cancel()

    def _end_resources_tasks(self) -> None:
        """End what resources have started and not ended, now that they are closed."""
        if not self._tasks():
            return

        async def end() -> None:
            while tasks := self._tasks():
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)

        self._drive(end(), self._share(3), self._leave_tasks)

    def _complain(self, what: str) -> None:
        logger.warning(
            "%s: %s did not end in time when the manager was stopped", self._driver.label, what
        )

    def _describe(self, task: asyncio.Task[Any]) -> str:
        for job in self._driver.in_flight():
            if job.task is task:
                return job.name
        for host in self._driver.hosts:
            if host.task is task:
                return host.name
        return f"the task {task.get_name()} ({task.get_coro()!r})"

    def _end_generators(self) -> None:
        def late() -> None:
            names = _generators_in(asyncio.all_tasks(self._loop)) or ["an async generator"]
            self._complain(", ".join(names))

        self._drive(self._loop.shutdown_asyncgens(), self._share(2), late)

    def _drive(
        self, coro: Coroutine[Any, Any, None], budget: float, late: Callable[[], None]
    ) -> None:
        """Run a step to its end, or past its budget call `late` and cancel it."""
        driver = self._driver
        self._step = task = driver.loop.create_task(coro)
        task.add_done_callback(lambda _: driver.loop.stop())
        over: list[bool] = []

        def cut() -> None:
            over.append(True)
            driver.loop.stop()

        timer = driver.loop.call_later(budget, cut)
        while not (task.done() or over):
            driver.visits.visit()
        timer.cancel()
        if task.done():
            task.result()
            return
        late()
        task.cancel()
        driver.visits.run_ready()  # so that the step itself leaves nothing pending

    def _end_executor(self) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)
        if not self._executor.used:
            return
        joiner = threading.Thread(target=self._executor.shutdown, daemon=True)
        try:
            joiner.start()
        except RuntimeError:
            return  # the interpreter is at its end, and has joined all executors' threads
        joiner.join(self._share(1))
        if joiner.is_alive():
            self._complain("a function in its default executor")

    def _close_loop(self) -> None:
        try:
            self._driver.loop.give_back()
        except Exception:
            logger.exception("%s: its event loop could not be closed", self._driver.label)


async def _end(hosts: list[ResourceHost]) -> None:
    # All at once: one that is opening may wait for another that is, and would try that again.
    for host in hosts:
        host.end()
    await asyncio.wait([host.task for host in hosts])


def _generators_in(tasks: set[asyncio.Task[Any]]) -> list[str]:
    """The names of the async generators that these tasks are closing, as far as can be told."""
    return [
        generator.__qualname__
        for task in tasks
        for generator in gc.get_referents(*_awaited_by(task.get_coro()))
        if isinstance(generator, AsyncGeneratorType)
    ]


def _awaited_by(coro: object) -> list[object]:
    # asyncio wraps a generator's aclose() in a coroutine, made of a generator up to 3.11.
    frame = getattr(coro, "cr_frame", None) or getattr(coro, "gi_frame", None)
    return [coro] if frame is None else [coro, *frame.f_locals.values()]
