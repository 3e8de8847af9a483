"""A scheduler that decides which thread takes the next step, so that an order can be repeated.

The threads are greenlets of one real thread: each runs until it is about to touch something that
another may touch too, and there the scheduler decides who goes on. What lies between two such
points is the thread's own business, and cannot be told apart from being done at once. A lock or
a wake-up that is not to be had makes its thread not runnable. Time is a number, which moves when
a thread's timed wait ends.
"""

from __future__ import annotations

import asyncio
import math
import sys
from typing import TYPE_CHECKING, Any

from greenlet import GreenletExit, getcurrent, greenlet  # type: ignore[import-untyped]

from .steps import READ, WRITE, Fibre, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Scheduler"]

LIMIT = 3000
"""Steps after which an order counts as never ending."""


def _keep_task(_loop: object, _task: object) -> None:
    """Before Python 3.14 each loop has its own; nothing is to be done."""


_swap_task: Any = _keep_task
if sys.version_info >= (3, 14):
    _swap_task = getattr(asyncio.tasks, "_swap_current_task")  # noqa: B009 - mypy knows no such name


class Scheduler:
    """Runs fibres in the order that a prefix of choices prescribes, and by itself after that.

    By itself it lets a thread go on as long as it can, and then the first that can. When nobody
    can, the earliest timed wait ends. Lives for one order.
    """

    def __init__(self, prefix: Sequence[int] = ()) -> None:
        self.prefix = prefix
        self.first = 0  # the steps before are the scenario's set-up, in one order only
        self.now = 1000.0
        self.steps: list[Step] = []
        self.fibres: list[Fibre] = []
        self.running: Fibre | None = None  # None: set-up and clean-up, which nobody interrupts
        self.problem: str | None = None
        self.error: BaseException | None = None  # what the problem came with
        self.before_time_passes: Callable[[], None] = _nothing
        self.may_fork = False  # a thread may fork between any two steps of the others
        self.forked = False
        self._live: list[Fibre] = []
        self._last = -1
        self._spent = (0, 0)
        self._still = False  # no time passes
        self._hub = getcurrent()
        self.ended = False

    # -- in the hub --------------------------------------------------------------------------

    def spawn(self, name: str, target: Callable[[], None]) -> Fibre:
        """Make a thread; it takes its first step when it is chosen."""

        def main() -> None:
            asyncio._set_running_loop(None)
            try:
                target()
            except GreenletExit:
                pass
            except BaseException as error:
                if not self.ended and self.problem is None:
                    self.problem = f"{name} ended with {type(error).__name__}: {error}"
                    self.error = error
            finally:
                if not self.ended:
                    fibre.done = True
                    self._live.remove(fibre)

        fibre = Fibre(len(self.fibres), name, greenlet(main, self._hub), len(self.steps) - 1)
        self.fibres.append(fibre)
        self._live.append(fibre)
        return fibre

    def run(self) -> None:
        """Take steps until nobody can take one, or until something is wrong."""
        loop = asyncio._get_running_loop()
        try:
            while self.problem is None and (fibre := self._choose()) is not None:
                self.running = fibre
                fibre.glet.switch()
        finally:
            self.running = None
            asyncio._set_running_loop(loop)

    def settle(self) -> None:
        """Take steps until nobody can, in one order only: what comes after is to be varied.

        No time passes.
        """
        prefix, self.prefix, self._still = self.prefix, (), True
        self.run()
        self.prefix, self._still = prefix, False
        self.first = len(self.steps)

    def end(self) -> None:
        """Unwind what has not ended; nothing is scheduled any more."""
        self.ended = True
        loop = asyncio._get_running_loop()
        for fibre in self.fibres:
            if fibre.glet:
                fibre.glet.throw(GreenletExit)
        asyncio._set_running_loop(loop)

    # -- in a fibre --------------------------------------------------------------------------

    def point(
        self,
        kind: int,
        thing: str,
        ready: Callable[[], bool] | None = None,
        deadline: float = math.inf,
    ) -> bool:
        """About to touch a thing: let the scheduler decide who goes on; False after the deadline.

        Args:
            kind: How.
            thing: Its name, the same in every order that begins in the same way.
            ready: Whether this thread can go on; asked before each step of anybody.
            deadline: When it goes on all the same.
        """
        me = self.running
        if me is None:
            if self.ended and ready is not None:
                raise GreenletExit
            return True
        me.kind, me.thing, me.ready, me.deadline = kind, thing, ready, deadline
        fibre = self._choose()
        if fibre is not me:
            self._switch(fibre)
        return ready is None or ready()

    def touch(self, kind: int, thing: str) -> None:
        """Touch a thing in the middle of a step: it happens at once with the step's beginning."""
        if self.running is not None:
            self.steps[-1].touched.append((kind, thing, self.running.section))

    def amend(self, kind: int) -> None:
        """The step has turned out to touch its thing in another way."""
        if self.running is not None:
            touched = self.steps[-1].touched
            touched[0] = (kind, *touched[0][1:])

    def enter_section(self, mutex: str) -> None:
        """The running thread has the mutex, from the present step on."""
        if self.running is not None:
            if self.running.section is not None:
                self.fail(f"{mutex} is taken under another: the analysis does not allow for it")
            self.running.section = (mutex, len(self.steps) - 1)

    def leave_section(self) -> None:
        """The running thread has given the mutex back."""
        if self.running is not None:
            self.running.section = None

    def fork(self) -> None:
        """From here on this is the child process: it has no thread but the running one."""
        self.point(WRITE, "fork")
        assert self.running is not None
        self.forked = True
        self._live = [self.running]

    def fail(self, problem: str) -> None:
        """Something is wrong: end this order here."""
        if self.running is not None and self.problem is None:
            self.problem = problem
            self._switch(None)

    def _switch(self, fibre: Fibre | None) -> None:
        # asyncio keeps the running loop for each real thread, and from Python 3.14 on the running
        # task too. Here each fibre has its own.
        loop = asyncio._get_running_loop()
        task = None if loop is None else _swap_task(loop, None)
        self.running = fibre
        (self._hub if fibre is None else fibre.glet).switch()
        asyncio._set_running_loop(loop)
        if task is not None:
            _swap_task(loop, task)

    # -- the choice --------------------------------------------------------------------------

    def _choose(self) -> Fibre | None:
        """Decide who takes the next step, and note it."""
        enabled: list[int] = []
        expirable: list[int] = []
        for fibre in self._live:
            if fibre.ready is None or fibre.deadline <= self.now or fibre.ready():
                enabled.append(fibre.index)
            elif fibre.deadline < math.inf:
                expirable.append(~fibre.index)
        at = len(self.steps)
        if at < len(self.prefix):
            choice: int | None = self.prefix[at]
            if choice not in enabled and choice not in expirable:
                raise RuntimeError(f"step {at} differs from the last time: not repeatable")
        else:
            choice = self._prefer(enabled, expirable)
        if at > LIMIT:
            self.problem = f"there is no end after {LIMIT} steps"
            return None
        return None if choice is None else self._take(choice, enabled, expirable)

    def _prefer(self, enabled: list[int], expirable: list[int]) -> int | None:
        """Who goes on when nothing is prescribed."""
        if self._last in enabled:
            return self._last
        if enabled:
            return enabled[0]
        if self._still or not expirable:
            return None
        self.before_time_passes()
        if self.problem is not None:
            return None
        return min(expirable, key=lambda waiter: self.fibres[~waiter].deadline)

    def _take(self, choice: int, enabled: list[int], expirable: list[int]) -> Fibre:
        step = Step(choice, enabled, expirable, self._last, self._spent)
        fibre = self.fibres[step.fibre]
        step.touched.append((fibre.kind, fibre.thing, fibre.section))
        if self.may_fork and fibre.thing != "fork":
            step.touched.append((READ, "fork", fibre.section))
        if choice < 0:
            self.now = max(self.now, fibre.deadline)
            step.touched.append((WRITE, "time", None))
        step.ends_wait = fibre.deadline < math.inf
        fibre.deadline = math.inf
        if choice != self._last:
            preempted, hurried = self._spent
            self._spent = preempted + step.preempts(choice), hurried + step.hurries(choice)
        self._last = step.fibre
        self.steps.append(step)
        return fibre


def _nothing() -> None:
    pass
