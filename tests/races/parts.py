"""Locks, wake-ups and threads whose every use is a step of the scheduler's, and a seam of them."""

from __future__ import annotations

import math
import select
from typing import TYPE_CHECKING, Any

from wsgi_async.core.seam import Seam, Signal

from .steps import ACQUIRE, READ, SET, WRITE

if TYPE_CHECKING:
    from collections.abc import Callable

    from .scheduler import Scheduler
    from .steps import Fibre

__all__ = [
    "ControlledEvent",
    "ControlledMutex",
    "ControlledSeam",
    "ControlledSignal",
    "deadline_of",
    "readable",
]


def deadline_of(scheduler: Scheduler, timeout: float | None) -> float:
    """When a wait ends that begins now."""
    if timeout is None:
        return math.inf
    scheduler.touch(READ, "time")
    return scheduler.now + timeout


def readable(fileno: int) -> Callable[[], bool]:
    """What tells whether a descriptor can be read."""
    poll = select.poll()
    poll.register(fileno, select.POLLIN)
    return lambda: bool(poll.poll(0))


class ControlledMutex:
    """A lock that its thread may take again. Taking it is a step; giving it back needs none.

    Whoever waits for it can go on only after that, and what the thread does next that others
    could notice is a step again.
    """

    def __init__(self, scheduler: Scheduler, name: str) -> None:
        self.scheduler = scheduler
        self._name = name
        self._owner: Fibre | None = None
        self._depth = 0

    def __enter__(self) -> bool:
        me = self.scheduler.running
        if me is None:
            return True
        if self._owner is not me:
            self.scheduler.point(ACQUIRE, self._name, self._free)
            self._owner = me
            self.scheduler.enter_section(self._name)
        self._depth += 1
        return True

    def __exit__(self, *_: object) -> None:
        if self.scheduler.running is None:
            return
        self._depth -= 1
        if self._depth == 0:
            self._owner = None
            self.scheduler.leave_section()

    def _free(self) -> bool:
        return self._owner is None

    @property
    def mine(self) -> bool:
        """Whether the running thread has it."""
        return self._owner is not None and self._owner is self.scheduler.running


class ControlledSignal(Signal):
    """A wake-up call. To set it and to wait for it are steps."""

    __slots__ = ("_name", "_on", "_scheduler")

    def __init__(self, scheduler: Scheduler, name: str) -> None:
        super().__init__()
        self._scheduler = scheduler
        self._name = name
        self._on = False

    def set(self) -> None:
        self._scheduler.point(SET, self._name)
        self._on = True

    def wait(self, timeout: float | None = None) -> bool:
        deadline = deadline_of(self._scheduler, timeout)
        if not self._scheduler.point(WRITE, self._name, self._is_on, deadline):
            return False
        self._on = False
        return True

    def _is_on(self) -> bool:
        return self._on


class ControlledEvent:
    """What the core uses of `threading.Event`."""

    def __init__(self, scheduler: Scheduler, name: str) -> None:
        self._scheduler = scheduler
        self._name = name
        self._on = False

    def set(self) -> None:
        self._scheduler.point(SET, self._name)
        self._on = True

    def wait(self, timeout: float | None = None) -> bool:
        deadline = deadline_of(self._scheduler, timeout)
        return self._scheduler.point(READ, self._name, lambda: self._on, deadline)


class ControlledThread:
    """What the core uses of `threading.Thread`, once it is started."""

    def __init__(self, scheduler: Scheduler, fibre: Fibre) -> None:
        self._scheduler = scheduler
        self._fibre = fibre

    def join(self, timeout: float | None = None) -> None:
        deadline = deadline_of(self._scheduler, timeout)
        name = f"end of {self._fibre.name}"
        self._scheduler.point(READ, name, lambda: self._fibre.done, deadline)


class ControlledSeam(Seam):
    """A seam that hands everything to the scheduler. Lives for one order.

    Args:
        scheduler: Decides.
        idents: Threads' names, and what `current()` is to call them.
    """

    def __init__(self, scheduler: Scheduler, idents: dict[str, int]) -> None:
        super().__init__()
        self._scheduler = scheduler
        self._idents = idents
        self._kept: dict[int, list[Signal]] = {}
        self._signals = 0
        self._inside: Fibre | None = None  # who runs the loop
        self.baton_mutex = ControlledMutex(scheduler, "mutex")
        self.current = self._current
        self.clock = self._clock

    def _current(self) -> int:
        fibre = self._scheduler.running
        return -1 if fibre is None else self._idents.get(fibre.name, fibre.index + 1)

    def _clock(self) -> float:
        self._scheduler.touch(READ, "time")
        return self._scheduler.now

    def mutex(self) -> ControlledMutex:
        return self.baton_mutex  # of the one manager that there is

    def signal(self) -> Signal:
        self._signals += 1
        return ControlledSignal(self._scheduler, f"signal {self._signals}")

    def borrow(self) -> Signal:
        kept = self._kept.get(self._current())
        return kept.pop() if kept else self.signal()

    def give_back(self, signal: Signal) -> None:
        self._kept.setdefault(self._current(), []).append(signal)

    def entry(self, run_forever: Callable[[], None]) -> Callable[[], None]:
        def enter() -> None:
            self._scheduler.point(WRITE, "loop entry")
            if self._inside is not None:
                self._scheduler.fail(f"the loop is entered while {self._inside.name} runs it")
            self._inside = self._scheduler.running
            try:
                run_forever()
            finally:
                self._scheduler.point(WRITE, "loop entry")
                self._inside = None

        return enter

    def watch(self, fileno: int, timeout: float | None) -> None:
        deadline = deadline_of(self._scheduler, timeout)
        self._scheduler.point(READ, "io", readable(fileno), deadline)

    def start_thread(self, target: Callable[[], None], name: str) -> Any:
        return ControlledThread(self._scheduler, self._scheduler.spawn(name.split()[1], target))
