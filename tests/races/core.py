"""The core's classes with what their threads share made visible, and the core made to use them.

Whatever a thread may see another change has to be named here, or the orders of it are not told
apart; `UNSHARED` names the rest, so that a new attribute makes a test fail rather than go unseen.
"""

from __future__ import annotations

import gc
import logging
import sys
import threading
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from wsgi_async.core import (
    baton,
    driver,
    futures,
    hosts,
    jobs,
    keeper,
    lifecycle,
    loops,
    manager,
    running,
    sync_calls,
    timer,
)

from .loops import ControlledLoop, ControlledSelector, ForeignSelector
from .parts import ControlledEvent, ControlledMutex
from .shared import Guard, SharedDeque, SharedSet, share

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .world import World

__all__ = ["UNSHARED", "SharedLife", "controlled", "present"]


class _Present(logging.Handler):
    """The world that is played at present, and the warnings that are logged in it."""

    world: World

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.logged: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.logged.append(record.getMessage())


present = _Present()


def _by_baton() -> Guard:
    return Guard(present.world.seam.baton_mutex)


def _job() -> Guard:
    return Guard(present.world.seam.baton_mutex, f"{present.world.number('job')} ")


def _waiter() -> Guard:
    return Guard(present.world.seam.baton_mutex, f"{present.world.number('waiter')} ")


def _future() -> Guard:
    name = present.world.number("future")
    return Guard(ControlledMutex(present.world.scheduler, f"{name} mutex"), f"{name} ")


def _life() -> Guard:
    return Guard(ControlledMutex(present.world.scheduler, "unused"), "life's ")


_baton = share(
    baton.Baton,
    _by_baton,
    guarded="holder jobs last_use armed _last_seen due _last_pause _pauses_watched",
    free="keeper keeper_only poked closing paused",
)
_job_base = share(
    jobs.Job,
    _job,
    guarded="state waiter",
    free="done task future result exception cancelled stopped expired left",
)
_future_base = share(futures.DrivenFuture, _future, guarded="_done _waiters")
_timer = share(timer.TimerThread, _by_baton, free="_ended _asleep_until")
_driver = share(driver.Driver, _by_baton, free="target")
_keeper = share(keeper.Keeper, _by_baton, free="_watching")
_calls = share(sync_calls.SyncCalls, _by_baton, free="closed job")
_waiter_class = share(jobs.Waiter, _waiter, guarded="granted")
SharedLife = share(
    lifecycle.Life, _life, free="driver task_type given_up _state _ended _keeper _deadline"
)


class SharedBaton(_baton):  # type: ignore[misc, valid-type]
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.queue = SharedDeque(self.guard, "queue", guarded=True)
        self.claims = SharedDeque(self.guard, "claims", guarded=True)
        self.jobs = SharedSet(self.guard, "jobs")


class SharedJob(_job_base):  # type: ignore[misc, valid-type]
    def __hash__(self) -> int:
        return hash(self.guard.prefix)  # so that a set of them is in the same order each time


class SharedCalls(_calls):  # type: ignore[misc, valid-type]
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.queue = SharedDeque(self.guard, "calls", guarded=True)


class SharedFuture(_future_base):  # type: ignore[misc, valid-type]
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._mutex = self.guard.mutex


class SharedTimer(_timer):  # type: ignore[misc, valid-type]
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._incoming = SharedDeque(self.guard, "incoming", guarded=False)


UNSHARED = {
    "SharedBaton": "mutex _borrow clock owner every_waiter_drives keeper_rests queue claims",
    "SharedDriver": (
        "loop visits baton seam grace label inherited wake_keeper arm_timer caller _followed"
        " _current _stop _post _create_task _on_end _start_queued selector serves_sync_calls"
    ),
    "SharedKeeper": (
        "_loop _selector _baton _seam linger _signal thread _idle _next_timer _start_soon"
    ),
    "SharedLife": "id _node _settings _seam _on_stopped _lock outlive",
    "SharedCalls": "driver outer queue wake",
    "SharedTimer": "_clock _signal _incoming thread",
    "SharedJob": "coro context foreign_context name calls calls_back",
    "SharedWaiter": "thread job signal",
    "SharedFuture": (
        "_mutex _driver _job _callbacks _cancelled _exception _result _unretrieved __weakref__"
    ),
}
"""What only one thread touches, or nobody changes, or is read after `done` only."""


def _make_loop(_: object) -> tuple[ControlledLoop, ControlledSelector | None]:
    scheduler = present.world.scheduler
    if present.world.ours:
        selector = ControlledSelector(scheduler)
        return ControlledLoop(scheduler, selector), selector
    return ControlledLoop(scheduler, ForeignSelector(scheduler)), None


@contextmanager
def controlled() -> Iterator[pytest.MonkeyPatch]:
    """Have the core use the classes above, and let nothing disturb the orders."""
    threads = SimpleNamespace(
        Event=lambda: ControlledEvent(present.world.scheduler, "end of the manager"),
        Lock=lambda: ControlledMutex(present.world.scheduler, "life's lock"),
        TIMEOUT_MAX=threading.TIMEOUT_MAX,
        main_thread=threading.main_thread,
    )
    with pytest.MonkeyPatch.context() as patch, _no_collection():
        patch.setattr(lifecycle, "Baton", SharedBaton)
        patch.setattr(lifecycle, "Driver", _driver)
        patch.setattr(lifecycle, "Keeper", _keeper)
        patch.setattr(lifecycle, "make_loop", _make_loop)
        patch.setattr(lifecycle, "threading", threads)
        patch.setattr(timer, "TimerThread", SharedTimer)
        patch.setattr(timer, "_shared", {})
        patch.setattr(baton, "Waiter", _waiter_class)
        patch.setattr(manager, "Job", SharedJob)
        patch.setattr(running, "Job", SharedJob)
        patch.setattr(running, "SyncCalls", SharedCalls)
        patch.setattr(hosts, "SyncCalls", SharedCalls)
        patch.setattr(manager, "DrivenFuture", SharedFuture)
        patch.setattr(futures, "_seam", futures._seam)  # each world puts its own here
        clock = SimpleNamespace(monotonic=lambda: present.world.moment())  # noqa: PLW0108 - of the time
        patch.setattr(loops, "time", clock)
        for library in ("sqlalchemy.ext.asyncio", "greenback"):
            patch.delitem(sys.modules, library, raising=False)
        logging.getLogger().addHandler(present)
        try:
            yield patch
        finally:
            logging.getLogger().removeHandler(present)


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
