"""One manager in the scheduler's hands, the threads that use it, and what must hold after."""

from __future__ import annotations

import asyncio
import gc
import os
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

from wsgi_async import AsyncioLoopManager
from wsgi_async.core import futures, lineage, timer
from wsgi_async.core.settings import Settings

from .core import SharedLife, controlled, present
from .explorer import Report, explore
from .parts import ControlledSeam
from .scheduler import Scheduler

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from concurrent.futures import Future

    import pytest

    from .steps import Fibre

    Scenario = Callable[["World"], None]

__all__ = ["GRACE", "LINGER", "MAX_PAUSE", "World", "orders"]

T = TypeVar("T")

OWNER = 1000
"""The ident of the thread called "owner"."""

LINGER, GRACE, MAX_PAUSE = 1.0, 30.0, 5.0
"""Of the manager, on the scheduler's clock."""

TAKEN_OVER = "has run for 5.0 s on the thread that drives"
"""In the log when a pause was too long, which is no mistake where time passes."""

DEEPER = int(os.environ.get("WSGI_ASYNC_RACES", "0"))
"""Preemptions beyond what each test asks for, from the environment."""


class World:
    """One manager and its threads, for one order of their steps.

    Args:
        prefix: The first choices.
        drive: The manager's.
        ours: Whether the loop's selector is the library's own, which can be watched.
        slow: Whether the clock has moved at each look of the selector's at it.
    """

    def __init__(self, prefix: Sequence[int], *, drive: Any, ours: bool, slow: bool) -> None:
        self.scheduler = Scheduler(prefix)
        self.seam = ControlledSeam(self.scheduler, {"owner": OWNER})
        self.drive = drive
        self.ours = ours
        self.slow = slow
        self.patient = False  # its threads may have to wait for time to pass
        self.stopped = False  # the scenario has stopped the manager
        self._complaints: list[str] = []
        self._promises: list[tuple[str, Callable[[], bool]]] = []
        self._outcomes: list[tuple[str, Callable[[], bool]]] = []
        self._coroutines: list[Coroutine[Any, Any, Any]] = []
        self._threads: list[Fibre] = []
        self._numbers: Counter[str] = Counter()
        self._looks = 0

    # -- for scenarios -------------------------------------------------------------------------

    def start(self) -> AsyncioLoopManager:
        """Make and start the manager, and let keeper and timer come to rest."""
        node = lineage.ThreadNode(None, None)
        node.ident = OWNER
        settings = Settings(
            drive=self.drive,
            debug=False,
            linger=LINGER,
            grace=GRACE,
            max_pause=MAX_PAUSE,
            seam=self.seam,
        )
        self.manager = AsyncioLoopManager(drive=self.drive)
        self.manager.node = node
        self.manager.life = SharedLife(None, node, settings, lambda: None)
        self.manager.life.start(None)
        assert self.manager.life.driver is not None
        self.driver = self.manager.life.driver
        self.baton = self.driver.baton
        self.scheduler.settle()
        if not self.ours:
            # Once it has had something to do, the keeper of such a loop rests inside of it.
            self.scheduler.spawn("waker", self._wake)
            self.scheduler.settle()
            assert self.baton.holder == self.baton.keeper
        return self.manager

    def _wake(self) -> None:
        self.manager.get_event_loop().call_soon_threadsafe(_nothing)

    def thread(self, name: str, target: Callable[[], object]) -> None:
        """A thread of the scenario's; "owner" is the manager's own."""

        def run() -> None:
            target()

        self._threads.append(self.scheduler.spawn(name, run))

    def steps(self, name: str, turns: int = 2, *, own: bool = False) -> Coroutine[Any, Any, str]:
        """A coroutine of a few turns of the loop, which notes who takes it through each.

        Args:
            name: Its result.
            turns: How many.
            own: The thread that calls `run()` with it is not to let go of it.
        """

        async def work() -> str:
            where = [self.seam.current()]
            for _ in range(turns - 1):
                await asyncio.sleep(0)
                where.append(self.seam.current())
            self._check_moves(name, where, may_move=not own)
            return name

        return self.coroutine(work())

    def coroutine(self, coro: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
        """A coroutine that is closed at the end, if nobody has run it."""
        self._coroutines.append(coro)
        return coro

    def _check_moves(self, name: str, where: list[int], *, may_move: bool) -> None:
        """One thread; or what came in while a caller drove for another, moves to the keeper."""
        moves = [after for before, after in pairwise(where) if before != after]
        if self.drive == "auto" and moves and not (may_move and moves == [self.baton.keeper]):
            self._complaints.append(f"{name} was stepped by the threads {where}")

    def wait(self, future: Future[T]) -> T:
        """Wait for a future of concurrent.futures, whose own waiting the scheduler cannot see."""
        signal = self.seam.signal()
        future.add_done_callback(lambda _: signal.set())
        while not future.done():
            signal.wait()
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

    # -- for the core's classes ----------------------------------------------------------------

    def number(self, kind: str) -> str:
        """A name for the next object of a kind."""
        self._numbers[kind] += 1
        return f"{kind} {self._numbers[kind]}"

    def moment(self) -> float:
        """What the selector's clock shows."""
        self._looks += self.slow
        return self.scheduler.now + self._looks

    # -- playing -------------------------------------------------------------------------------

    def play(self, scenario: Scenario) -> Scheduler:
        """Play one order, look whether everything is as it has to be, and clean up."""
        present.world = self
        present.logged.clear()
        futures._seam = self.seam
        scheduler = self.scheduler
        scheduler.before_time_passes = self._before_time_passes
        try:
            scenario(self)
            scheduler.run()
            if scheduler.problem is None:
                scheduler.problem = self._wrong()
        finally:
            self._clean_up()
        return scheduler

    def _asleep(self) -> list[str]:
        return [fibre.name for fibre in self._threads if not fibre.done]

    def _broken(self) -> list[str]:
        return [what for what, kept in self._promises if not kept()]

    def _missing(self) -> list[str]:
        missing = [what for what, kept in self._promises + self._outcomes if not kept()]
        return [f"{what} never happens" for what in missing]

    def _before_time_passes(self) -> None:
        """Nobody can go on; then nobody must have work to do that is not done by a timeout."""
        late = self._broken() + ([] if self.patient else self._asleep())
        if late:
            self.scheduler.problem = f"a timeout has to save {late}: a wake-up is lost"

    def _wrong(self) -> str | None:
        """What is wrong when nobody can take a step any more."""
        asleep = self._asleep()
        if asleep:
            return f"{asleep} sleep for ever"
        logged = [line for line in present.logged if TAKEN_OVER not in line]
        wrong = [*self._complaints, *logged, *self._missing(), *self._left_behind()]
        return "; ".join(wrong) or None

    def _left_behind(self) -> list[str]:
        wrong = [f"left in {name}" for name in ("queue", "jobs", "claims") if self._has(name)]
        if self.baton.holder not in (None, self.baton.keeper):
            wrong.append(f"the baton is left with {self.baton.holder}")
        if self.stopped != (self.manager.state == "stopped"):
            wrong.append(f"the manager is {self.manager.state}")
        return wrong

    def _has(self, name: str) -> bool:
        return bool(getattr(self.baton, name))

    def _clean_up(self) -> None:
        self.scheduler.end()
        for coro in self._coroutines:
            coro.close()
        self.driver.loop.give_back()
        self.manager.life.driver = None
        timer._shared.pop(self.seam, None)


def orders(
    scenario: Scenario,
    *,
    drive: str = "auto",
    ours: bool = True,
    slow: bool = False,
    preemptions: int = 2,
    timeouts: int = 0,
    mutate: Callable[[pytest.MonkeyPatch], None] | None = None,
) -> Report:
    """Play a scenario in every order of its threads' steps.

    Args:
        scenario: Starts the manager and makes the threads.
        drive: As `World`.
        ours: As `World`.
        slow: As `World`.
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
        return World(prefix, drive=drive, ours=ours, slow=slow).play(scenario)

    with controlled() as patch:
        if mutate is not None:
            mutate(patch)
        report = explore(play, preemptions=preemptions + DEEPER, timeouts=timeouts)
    print(scenario.__name__, report)  # `pytest -rP` shows it
    return report


def _nothing() -> None:
    pass
