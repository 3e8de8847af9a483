"""The core's classes with what their threads share made visible, and the core made to use them.

What threads share, and what guards it, the comments in the package say (see `fields.py`). Here it
is only listed which classes they are, and where the core makes its objects of them.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import concurrent.futures._base
import gc
import logging
import threading
import weakref
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from wsgi_async.core.actors import context_manager, stream
from wsgi_async.core.base import deadlines, primitives, settings
from wsgi_async.core.jobs import inbox, job
from wsgi_async.core.life import lifecycle, shutdown
from wsgi_async.core.loops import live_loop
from wsgi_async.core.managers import manager, thread_pool
from wsgi_async.core.results import groups, sync_future
from wsgi_async.core.runners import crew, keeper, resident, run

from .fields import GUARDED, Rule
from .loops import ControlledTask
from .parts import ControlledCondition, ControlledEvent, ControlledMutex
from .shared import UNWATCHED, Guard, share
from .steps import READ, WRITE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .world import World

__all__ = [
    "CLASSES",
    "SharedCrew",
    "SharedFuture",
    "SharedGroup",
    "SharedInbox",
    "SharedJob",
    "SharedKeeper",
    "SharedLifecycle",
    "SharedLive",
    "SharedLoopWakeup",
    "SharedResident",
    "SharedWorker",
    "controlled",
    "present",
]


class _Present(logging.Handler):
    """The world that is played at present, and the warnings that are logged in it."""

    world: World

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.logged: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.logged.append(record.getMessage())


present = _Present()


def _guard(name: str) -> Guard:
    return Guard(present.world.scheduler, name, present.world.number(name))


# Of the standard library's future its state is enough: whoever touches more looks at it first.
_FUTURE = dict.fromkeys(
    ("_condition", "_waiters", "_result", "_exception", "_done_callbacks"), UNWATCHED
)


def _future(kind: type, early: str = "") -> type[Any]:
    state = Rule(GUARDED, f"{kind.__name__}._condition")
    shared = share(kind, _guard, early=early, more={**_FUTURE, "_state": state})
    shared.__del__ = _nothing  # it would take its steps somewhere else each time
    return shared


def _nothing(_: object) -> None:
    pass


SharedLive = share(live_loop.LiveLoop, _guard)
SharedLifecycle = share(lifecycle.Lifecycle, _guard)
SharedKeeper = share(keeper.Keeper, _guard)
SharedResident = share(resident.Resident, _guard)
SharedLoopWakeup = share(resident.LoopWakeup, _guard)
SharedJob = share(job.Job, _guard)
SharedCall = share(job.ActorCall, _guard)
SharedLastCall = share(stream._LastCall, _guard)
SharedInbox = share(inbox.Inbox, _guard)
SharedFuture = _future(sync_future.SyncFuture)
SharedPlainFuture = _future(concurrent.futures.Future)
SharedGroup = share(groups.JobGroup, _guard)
SharedCrew = share(crew.Crew, _guard)
SharedWorker = share(crew.Worker, _guard)

CLASSES: list[type] = [
    live_loop.LiveLoop,
    lifecycle.Lifecycle,
    keeper.Keeper,
    resident.Resident,
    resident.LoopWakeup,
    job.Job,
    job.ActorCall,
    inbox.Inbox,
    sync_future.SyncFuture,
    groups.JobGroup,
    crew.Crew,
    crew.Worker,
]
"""Those whose objects several threads get hold of."""


class _Threading:
    """The module `threading`, where what it makes is the scheduler's."""

    def Event(self) -> ControlledEvent:  # noqa: N802
        world = present.world
        return ControlledEvent(world.scheduler, f"event {world.number('event')}")

    def Lock(self) -> Any:  # noqa: N802
        return ControlledMutex(present.world.scheduler)

    RLock = Lock

    def Condition(self) -> ControlledCondition:  # noqa: N802
        return ControlledCondition(present.world.scheduler)

    def get_ident(self) -> int:
        return present.world.primitives.current()

    def main_thread(self) -> Any:
        return SimpleNamespace(ident=0)  # none of those that are played

    def current_thread(self) -> Any:
        return present.world.primitives.current_thread()


class _Blocked(ControlledCondition):
    """A future's condition that wakes those who wait in our way."""

    def __init__(self) -> None:
        super().__init__(present.world.scheduler)
        self.wakeups = _Wakeups(f"wake-ups of future {present.world.number('future')}")

    def notify_all(self) -> None:
        self.scheduler.point(READ, self.wakeups.name)
        self.wake_all()

    def wake_all(self) -> None:
        for wakeup in list(self.wakeups):
            wakeup.set()


class _Wakeups(list[Any]):
    """Those of a future. To add one is a step."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def append(self, wakeup: Any) -> None:
        present.world.scheduler.point(WRITE, self.name)
        super().append(wakeup)


class _WakeupsThreading(_Threading):
    """The same, for the locks that wake-ups are made of."""

    def Lock(self) -> Any:  # noqa: N802
        return present.world.primitives.lock()


class _Shutdown(shutdown.Shutdown):
    """The core's, but for the clean-up, in which no thread is to take a step."""

    def run(self) -> None:
        if not present.world.scheduler.ended:
            super().run()


class _Clock:
    """The class `Primitives`, for who reads its clock."""

    def clock(self) -> float:
        return present.world.primitives.clock()


_MADE = [
    (lifecycle, "LiveLoop", SharedLive),
    (lifecycle, "Shutdown", _Shutdown),
    (lifecycle, "Keeper", SharedKeeper),
    (lifecycle, "Resident", SharedResident),
    (resident, "LoopWakeup", SharedLoopWakeup),
    (manager, "Job", SharedJob),
    (run, "Job", SharedJob),
    (stream, "ActorCall", SharedCall),
    (stream, "_LastCall", SharedLastCall),
    (context_manager, "ActorCall", SharedCall),
    (job, "Inbox", SharedInbox),
    (manager, "SyncFuture", SharedFuture),
    (thread_pool, "Crew", SharedCrew),
    (crew, "Worker", SharedWorker),
    (crew, "Future", SharedPlainFuture),
]


class _Real:
    """A module of the standard library with some of its names changed."""

    def __init__(self, module: Any, instead: Any) -> None:
        self._module, self._instead = module, instead

    def __getattr__(self, name: str) -> Any:
        return getattr(self._instead, name, None) or getattr(self._module, name)


@contextmanager
def controlled() -> Iterator[pytest.MonkeyPatch]:
    """Have the core use the classes above, and let nothing disturb the orders."""
    threads = _Real(threading, _Threading())
    with pytest.MonkeyPatch.context() as patch, _no_collection():
        for module, name, shared in _MADE:
            patch.setattr(module, name, shared)
        for module in (lifecycle, inbox):
            patch.setattr(module, "new_mutex", lambda: ControlledMutex(present.world.scheduler))
        patch.setattr(lifecycle, "Event", threads.Event)
        patch.setattr(crew, "threading", threads)
        patch.setattr(sync_future, "_Blocked", _Blocked)
        tasks = SimpleNamespace(Task=ControlledTask)
        patch.setattr(live_loop, "asyncio", _Real(asyncio, tasks))
        patch.setattr(primitives, "threading", _Real(threading, _WakeupsThreading()))
        patch.setattr(concurrent.futures._base, "threading", threads)
        patch.setattr(deadlines, "Primitives", _Clock())
        patch.setattr(lifecycle, "make_loop", lambda _: present.world.make_loop())
        patch.setattr(thread_pool, "get_or_create_loop_manager", _make_manager)
        patch.setattr(thread_pool, "start_once", _start)
        patch.setattr(thread_pool, "_pools", weakref.WeakSet())
        # Each world puts its own here.
        for module in (sync_future, thread_pool):
            patch.setattr(module, "primitives", settings.primitives)
        patch.setattr(resident, "_here", resident._here)
        logging.getLogger().addHandler(present)
        try:
            yield patch
        finally:
            logging.getLogger().removeHandler(present)


def _make_manager(*_: object, **options: Any) -> Any:
    return present.world.make_manager(**options)


def _start(one: Any) -> Any:
    one._life.start(None, resident=True)
    return one


@contextmanager
def _no_collection() -> Iterator[None]:
    """No garbage collection: a destructor would take its steps somewhere else each time."""
    was_on = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        if was_on:
            gc.enable()
