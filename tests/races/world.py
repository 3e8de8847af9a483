"""Managers in the scheduler's hands, the threads that use them, and what must hold after."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from wsgi_async import AsyncioLoopManager, LoopThreadPoolExecutor
from wsgi_async.core.base import threads
from wsgi_async.core.base.settings import Settings
from wsgi_async.core.managers import thread_pool
from wsgi_async.core.results import sync_future
from wsgi_async.core.runners import resident

from .core import SharedLifecycle, controlled, present
from .explorer import Report, explore
from .loops import make_loop
from .parts import ControlledPrimitives, FibreLocal
from .scheduler import Scheduler

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from concurrent.futures import Future

    import pytest

    from wsgi_async.core.loops.selector import WatchedSelector

    from .loops import ControlledLoop
    from .steps import Fibre

    Scenario = Callable[["World"], None]

__all__ = ["GRACE", "OWNER", "World", "orders"]

T = TypeVar("T")

OWNER = 1000
"""The ident of the thread called "owner"."""

GRACE = 30.0
"""Of the managers, on the scheduler's clock."""

LATE = "came up to a second late"
"""In the log where a second has passed between two steps of a thread that wakes a loop."""

DEEPER = int(os.environ.get("WSGI_ASYNC_RACES", "0"))
"""Preemptions beyond what each test asks for, from the environment."""


class World:
    """Managers and their threads, for one order of their steps.

    Args:
        prefix: The first choices.
        ours: Whether the loops' selectors are the library's own, which have a look at times.
    """

    def __init__(self, prefix: Sequence[int], *, ours: bool) -> None:
        self.scheduler = Scheduler(prefix)
        self.primitives = ControlledPrimitives(self.scheduler, {"owner": OWNER})
        self.patient = False  # its threads may have to wait for time to pass
        self.may_log = False  # what is logged is no mistake
        self.stopped = False  # the scenario has stopped its manager
        self.tidied = False  # `tidy()` has come to its end
        self.managers: list[AsyncioLoopManager] = []
        self.pool: Any = None
        self._ours = ours
        self._complaints: list[str] = []
        self._promises: list[tuple[str, Callable[[], bool]]] = []
        self._outcomes: list[tuple[str, Callable[[], bool]]] = []
        self._coroutines: list[Coroutine[Any, Any, Any]] = []
        self._threads: list[Fibre] = []
        self._loops: list[ControlledLoop] = []
        self._numbers: Counter[str] = Counter()

    # -- for scenarios -------------------------------------------------------------------------

    def start(self) -> AsyncioLoopManager:
        """Make a manager and start it, and let its keeper come to rest."""
        manager = self.make_manager()
        manager._life.start(None)
        self.scheduler.settle()
        return manager

    def make_manager(self, grace: float = GRACE) -> AsyncioLoopManager:
        """A manager that is not started."""
        node = threads.ThreadNode(None, None)
        node.ident = OWNER
        settings = Settings(debug=False, grace=grace, primitives=self.primitives)
        manager = AsyncioLoopManager()
        manager._life = SharedLifecycle(None, node, settings, manager._forget)
        self.managers.append(manager)
        return manager

    @property
    def manager(self) -> AsyncioLoopManager:
        """The first one."""
        return self.managers[0]

    @property
    def live(self) -> Any:
        """Its live loop."""
        runner = self.manager._life.runner
        assert runner is not None
        return runner.live

    def start_pool(self, max_workers: int, **options: Any) -> Any:
        """Make a pool; its threads start when there is work."""
        self.pool = LoopThreadPoolExecutor(max_workers, "pool", **options)
        return self.pool

    def thread(self, name: str, target: Callable[[], object]) -> None:
        """A thread of the scenario's; "owner" is the first manager's own."""

        def run() -> None:
            target()

        self._threads.append(self.scheduler.spawn(name, run))

    def steps(self, name: T, turns: int = 2) -> Coroutine[Any, Any, T]:
        """A coroutine of a few turns of its loop, all of them on the thread that the loop lives on.

        Args:
            name: Its result.
            turns: How many.
        """

        async def work() -> T:
            loop: Any = asyncio.get_running_loop()
            for turn in range(turns):
                if turn:
                    await asyncio.sleep(0)
                self._check_step(str(name), loop)
            return name

        return self.coroutine(work())

    def coroutine(self, coro: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
        """A coroutine that has to be closed or done at the end."""
        self._coroutines.append(coro)
        return coro

    async def tidy(self, inner: Coroutine[Any, Any, T]) -> T:
        """Do the inner one and clean up for a while, which at most one cancellation comes into."""
        try:
            return await inner
        finally:
            for _ in range(2):
                try:
                    await asyncio.sleep(0)
                except asyncio.CancelledError:
                    pass
            task = asyncio.current_task()
            assert task is not None
            if task.cancelling() > 1:
                self._complaints.append("a cleanup is interrupted")
            self.tidied = True

    def _check_step(self, name: str, loop: ControlledLoop) -> None:
        running = self.scheduler.running
        if loop.home is None:
            loop.home = running
        if loop.home is not running:
            self._complaints.append(f"{name} was stepped by another thread than its loop's")
        if self.scheduler.forked:
            self._complaints.append(f"{name} was stepped in a forked child")
        if loop.is_closed():
            self._complaints.append(f"{name} was stepped when its loop was closed")

    def wait(self, future: Future[T]) -> T:
        """Wait for a future of concurrent.futures, whose own waiting the scheduler cannot see."""
        wakeup = self.primitives.wakeup()
        future.add_done_callback(lambda _: wakeup.set())
        while not future.done():
            wakeup.wait()
        return future.result()

    def promise(self, what: str, kept: Callable[[], bool]) -> None:
        """Something that has to come true before anybody's timeout is waited for."""
        self._promises.append((what, kept))

    def at_end(self, what: str, kept: Callable[[], bool]) -> None:
        """Something that has to be true when all has come to rest."""
        self._outcomes.append((what, kept))

    def expect(self, seen: object, *wanted: object) -> None:
        """Note what must be so."""
        if seen not in wanted:
            self._complaints.append(f"{seen!r} instead of {wanted!r}")

    def fork(self) -> None:
        """Go on as the child process, in which the running thread is the only one."""
        self.scheduler.fork()
        for manager in self.managers:
            manager._life.inherit()
        resident.forget_seat()
        thread_pool.forget_pools()

    # -- for the core's classes ----------------------------------------------------------------

    def number(self, kind: str) -> int:
        """A number for the next object of a kind."""
        self._numbers[kind] += 1
        return self._numbers[kind]

    def make_loop(self) -> tuple[ControlledLoop, WatchedSelector | None]:
        """The next loop."""
        name = f"loop {self.number('loop')}"
        loop, selector = make_loop(self.scheduler, name, ours=self._ours)
        self._loops.append(loop)
        return loop, selector

    # -- playing -------------------------------------------------------------------------------

    def play(self, scenario: Scenario) -> Scheduler:
        """Play one order, look whether everything is as it has to be, and clean up."""
        present.world = self
        present.logged.clear()
        for module in (sync_future, thread_pool):
            vars(module)["primitives"] = self.primitives
        vars(resident)["_here"] = FibreLocal(self.scheduler, seat=None)
        scheduler = self.scheduler
        scheduler.before_time_passes = self._before_time_passes
        try:
            scenario(self)
            if self.may_log:
                logging.disable(logging.CRITICAL)
            scheduler.run()
            if scheduler.problem is None:
                scheduler.problem = self._wrong()
        finally:
            self._clean_up()
        return scheduler

    def _asleep(self) -> list[str]:
        if self.scheduler.forked:
            return [fibre.name for fibre in self.scheduler._live]
        return [fibre.name for fibre in self._threads if not fibre.done]

    def _before_time_passes(self) -> None:
        """Nobody can go on; then nobody must have work to do that is not done by a timeout."""
        broken = [what for what, kept in self._promises if not kept()]
        late = broken + ([] if self.patient else self._asleep())
        if late:
            self.scheduler.problem = f"a timeout has to save {late}: a wake-up is lost"

    def _wrong(self) -> str | None:
        """What is wrong when nobody can take a step any more."""
        asleep = self._asleep()
        if asleep:
            return f"{asleep} sleep for ever"
        logged = [] if self.may_log else [line for line in present.logged if LATE not in line]
        return "; ".join([*self._complaints, *logged, *self._missing(), *self._left()]) or None

    def _missing(self) -> list[str]:
        missing = [what for what, kept in self._promises + self._outcomes if not kept()]
        return [f"{what} never happens" for what in missing]

    def _left(self) -> list[str]:
        """What is left behind, though all has come to rest."""
        if self.scheduler.forked:
            return []
        wrong = []
        for manager in self.managers:
            runner = manager._life.runner
            if runner is not None and (runner.live.queue or runner.live.jobs):
                wrong.append("a job is left on the loop")
            if self.stopped != (manager.state == "stopped"):
                wrong.append(f"the manager is {manager.state}")
        wrong += [f"{coro!r} is left open" for coro in self._coroutines if coro.cr_frame]  # type: ignore[attr-defined]
        return wrong

    def _clean_up(self) -> None:
        logging.disable(logging.CRITICAL)
        try:
            for loop in self._loops:
                loop.set_exception_handler(_ignore)  # what is cut off here never raises to anybody
            self.scheduler.end()
            for coro in self._coroutines:
                with suppress(RuntimeError):  # it waits for something in its cleanup
                    coro.close()
            for manager in self.managers:
                manager._life.runner = None
            for loop in self._loops:
                for name in ("close", "stop"):  # those that are guarded
                    vars(loop).pop(name, None)
                loop.close()
        finally:
            logging.disable(logging.NOTSET)


def _ignore(*_: object) -> None:
    pass


def orders(
    scenario: Scenario,
    *,
    ours: bool = True,
    preemptions: int = 2,
    timeouts: int = 0,
    mutate: Callable[[pytest.MonkeyPatch], None] | None = None,
) -> Report:
    """Play a scenario in every order of its threads' steps.

    Args:
        scenario: Makes managers and threads.
        ours: As `World`.
        preemptions: As `explore()`.
        timeouts: As `explore()`.
        mutate: Breaks the core, to see that it is noticed.
    """
    played = 0

    def play(prefix: Sequence[int]) -> Scheduler:
        nonlocal played
        played += 1
        if played % 500 == 0:
            gc.collect()
        return World(prefix, ours=ours).play(scenario)

    with controlled() as patch:
        if mutate is not None:
            mutate(patch)
        report = explore(play, preemptions=preemptions + DEEPER, timeouts=timeouts)
    print(scenario.__name__, report)  # `pytest -rP` shows it
    return report
