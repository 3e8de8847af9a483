"""Locks, wake-ups and threads whose every use is a step of the scheduler's."""

from __future__ import annotations

import math
import select
from typing import TYPE_CHECKING, Any

from wsgi_async.core.base.primitives import Primitives

from .steps import ACQUIRE, READ, SET, WRITE

if TYPE_CHECKING:
    from collections.abc import Callable

    from .scheduler import Scheduler
    from .steps import Fibre

__all__ = [
    "ControlledCondition",
    "ControlledEvent",
    "ControlledLock",
    "ControlledMutex",
    "ControlledPrimitives",
    "FibreLocal",
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

    def __init__(self, scheduler: Scheduler, name: str = "a mutex") -> None:
        self.scheduler = scheduler
        self.name = name
        self._owner: Fibre | None = None
        self._depth = 0

    def __enter__(self) -> bool:
        me = self.scheduler.running
        if me is None:
            return True
        if self._owner is not me:
            self.scheduler.point(ACQUIRE, self.name, self._free)
            self._owner = me
            self.scheduler.enter_section(self.name)
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


class ControlledCondition(ControlledMutex):
    """What a `concurrent.futures.Future` uses of its condition, apart from waiting for it."""

    def notify_all(self) -> None:
        pass


class ControlledLock:
    """What a wake-up uses of `threading.Lock`: any thread gives it back that another waits for."""

    def __init__(self, scheduler: Scheduler, name: str) -> None:
        self._scheduler = scheduler
        self._name = name
        self._held: bool | None = None  # None: only the thread that makes it has it

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if self._held is None:
            self._held = True
            return True
        deadline = deadline_of(self._scheduler, None if timeout < 0 else timeout)
        if not self._scheduler.point(WRITE, self._name, self._free, deadline):
            return False
        self._held = True
        return True

    def release(self) -> None:
        self._scheduler.point(SET, self._name)
        if not self._held:
            raise RuntimeError("release unlocked lock")
        self._held = False

    def _free(self) -> bool:
        return not self._held


class ControlledEvent:
    """What the core uses of `threading.Event`."""

    def __init__(self, scheduler: Scheduler, name: str) -> None:
        self._scheduler = scheduler
        self._name = name
        self._on = False

    def set(self) -> None:
        self._scheduler.point(SET, self._name)
        self._on = True

    def clear(self) -> None:
        self._scheduler.point(WRITE, self._name)
        self._on = False

    def wait(self, timeout: float | None = None) -> bool:
        deadline = deadline_of(self._scheduler, timeout)
        return self._scheduler.point(READ, self._name, lambda: self._on, deadline)


class ControlledThread:
    """What the core uses of `threading.Thread`, once it is started."""

    def __init__(self, scheduler: Scheduler, fibre: Fibre) -> None:
        self._scheduler = scheduler
        self.fibre = fibre

    def join(self, timeout: float | None = None) -> None:
        deadline = deadline_of(self._scheduler, timeout)
        name = f"end of {self.fibre.name}"
        self._scheduler.point(READ, name, lambda: self.fibre.done, deadline)


class FibreLocal:
    """What the core uses of `threading.local`.

    Args:
        scheduler: Knows which thread runs.
        defaults: What a thread finds that has set nothing.
    """

    def __init__(self, scheduler: Scheduler, **defaults: Any) -> None:
        vars(self).update(_scheduler=scheduler, _defaults=defaults, _values={})

    def _here(self) -> dict[str, Any]:
        values: dict[Fibre | None, dict[str, Any]] = self._values
        return values.setdefault(self._scheduler.running, dict(self._defaults))

    def __getattr__(self, name: str) -> Any:
        try:
            return self._here()[name]
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name: str, value: object) -> None:
        self._here()[name] = value


class ControlledPrimitives(Primitives):
    """Primitives that hand everything to the scheduler. Live for one order.

    Args:
        scheduler: Decides.
        idents: Threads' names, and what `current()` is to call them.
    """

    def __init__(self, scheduler: Scheduler, idents: dict[str, int]) -> None:
        super().__init__()
        self._scheduler = scheduler
        self._idents = idents
        self._locks = 0
        self._threads: dict[Fibre | None, ControlledThread] = {}
        self.threads_to_fail = 0  # so many are not started from now on
        self.current = self._current  # type: ignore[misc]
        self.clock = self._clock  # type: ignore[misc]

    def _current(self) -> int:
        fibre = self._scheduler.running
        return -1 if fibre is None else self._idents.get(fibre.name, fibre.index + 1)

    def _clock(self) -> float:
        self._scheduler.touch(READ, "time")
        return self._scheduler.now

    def mutex(self) -> ControlledMutex:
        return ControlledMutex(self._scheduler)  # whose attribute it becomes, gives it its name

    def lock(self) -> ControlledLock:
        """What the wake-ups are made of; the rest of them is the core's."""
        self._locks += 1
        return ControlledLock(self._scheduler, f"wake-up {self._locks}")

    def entry(self, run_forever: Callable[[], None]) -> Callable[[], None]:
        scheduler = self._scheduler
        inside: list[Fibre | None] = []
        thing = f"entry of {run_forever.__self__.name}"  # type: ignore[attr-defined]

        def enter() -> None:
            scheduler.point(WRITE, thing)
            if inside:
                scheduler.fail(f"the loop is entered while {inside[0]} runs it")
            if scheduler.forked:
                scheduler.fail("a forked child enters its parent's loop")
            inside.append(scheduler.running)
            try:
                run_forever()
            finally:
                scheduler.point(WRITE, thing)
                inside.pop()

        return enter

    def start_thread(self, target: Callable[[], None], name: str) -> Any:
        if self.threads_to_fail:
            self.threads_to_fail -= 1
            raise RuntimeError("can't start new thread")
        fibre = self._scheduler.spawn(name.removeprefix("wsgi_async "), target)
        thread = self._threads[fibre] = ControlledThread(self._scheduler, fibre)
        return thread

    def current_thread(self) -> ControlledThread | None:
        """The running thread, if it was started here."""
        return self._threads.get(self._scheduler.running)
