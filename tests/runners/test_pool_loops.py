"""The loops that live on a pool's threads: that they turn, stand still, stop, and outlive blows."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import threading
import time
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from tests.core.support import Endless, our_log, reached, wait_until
from tests.runners.parts import LIMIT, Door, Plug, Worker, make, started, steps, thread_of, value
from wsgi_async import current_manager, run_in_calling_thread
from wsgi_async.core.runners import resident

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wsgi_async import AsyncioLoopManager

    Factory = Callable[[], asyncio.AbstractEventLoop] | None


@pytest.fixture
def owner() -> Iterator[Worker]:
    """A thread that a loop can live on."""
    with Worker("owner", resident=True) as worker:
        yield worker


@pytest.fixture
def manager(owner: Worker, loop_factory: Factory) -> Iterator[AsyncioLoopManager]:
    """A manager whose loop lives there."""
    with started(owner, loop_factory=loop_factory) as made:
        assert thread_of(made) == owner.thread.ident
        yield made


class Ticker:
    """A background task that counts the turns of its loop."""

    def __init__(self) -> None:
        self.turns = 0

    async def tick(self) -> None:
        """Tick without end."""
        while True:
            self.turns += 1
            await asyncio.sleep(0)


# -- time limits -------------------------------------------------------------------------------


def test_a_time_limit_counts_from_the_call_though_the_thread_has_computed(
    owner: Worker, manager: AsyncioLoopManager
) -> None:
    """What the thread did before a call does not shorten it, also beside an earlier limit."""

    def function() -> str:
        assert manager.run(value("before"), timeout=1.2) == "before"
        over = time.monotonic() + 1.0
        while time.monotonic() < over:
            pass
        return manager.run(asyncio.sleep(0.8, "slept"), timeout=1.4)

    assert owner.call(function) == "slept"


def test_a_time_limit_that_is_nearer_than_an_earlier_one_is_kept(
    owner: Worker, manager: AsyncioLoopManager
) -> None:
    """A short limit after a long one ends the call."""

    def function() -> None:
        assert manager.run(value("before"), timeout=LIMIT) == "before"
        with pytest.raises(TimeoutError):
            manager.run(Endless().wait(), timeout=0.05)

    owner.call(function)


# -- work and background tasks -----------------------------------------------------------------


def test_background_tasks_go_on_beside_work_without_end(
    owner: Worker, manager: AsyncioLoopManager
) -> None:
    """However much work is queued, the loop turns between two pieces of it."""
    ticker, seen = Ticker(), list[int]()
    owner.call(manager.submit_task, ticker.tick())
    plug = Plug()
    owner.begin(plug)
    plug.await_reached()
    pieces = [owner.begin(lambda: seen.append(ticker.turns)) for _ in range(100)]
    plug.pull()
    for piece in pieces:
        piece.result(LIMIT)
    assert all(later > earlier for earlier, later in pairwise(seen))


def test_a_socket_is_served_beside_work_without_end(
    owner: Worker, manager: AsyncioLoopManager
) -> None:
    """What comes in from outside comes in between two pieces of work, too."""
    door, happened = Door(), threading.Event()
    future = owner.call(manager.submit_task, door.walk())
    future.add_done_callback(lambda _: happened.set())
    give_up = time.monotonic() + LIMIT

    def work() -> None:
        if not happened.is_set() and time.monotonic() < give_up:
            owner.begin(work)

    owner.begin(work)
    door.await_reached()
    door.open()
    assert future.result(LIMIT) == "through"


def test_background_tasks_stand_still_while_the_thread_computes(
    owner: Worker, manager: AsyncioLoopManager
) -> None:
    """A loop is not run by anybody else: its tasks wait, and go on afterwards."""
    ticker = Ticker()
    owner.call(manager.submit_task, ticker.tick())

    def compute() -> tuple[int, int]:
        before, end = ticker.turns, time.monotonic() + 0.2
        while time.monotonic() < end:
            pass
        return before, ticker.turns

    before, after = owner.call(compute)
    assert before == after
    assert owner.call(manager.run, value(1)) == 1
    owner.call(int)
    assert ticker.turns > after


@pytest.mark.parametrize("way", ["run", "result", "exception"])
def test_a_thread_that_is_waited_for_by_its_own_helper(
    owner: Worker, manager: AsyncioLoopManager, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """A function that waits for a thread that waits for this loop: an error, and no deadlock."""
    monkeypatch.setattr(resident, "PATIENCE", 0.3)
    errors: list[BaseException | None] = []

    def wait() -> None:
        try:
            if way == "run":
                manager.run(value(1))
            else:
                getattr(manager.submit_task(value(1)), way)()
        except RuntimeError as error:
            errors.append(error)

    def view() -> float:
        began = time.monotonic()
        helper = threading.Thread(target=wait)
        helper.start()
        helper.join()
        return time.monotonic() - began

    assert 0.3 <= owner.call(view) < LIMIT / 2
    assert len(errors) == 1
    assert "standing still for 0.3 s" in str(errors[0])
    assert 'per="process"' in str(errors[0])
    assert owner.call(manager.run, value("goes on")) == "goes on"


# -- stops -------------------------------------------------------------------------------------


@pytest.mark.parametrize("doing", ["nothing", "run", "result"])
def test_a_stop_from_another_thread(
    owner: Worker, loop_factory: Factory, other: Worker, doing: str
) -> None:
    """It returns when the loop is closed, the owner's wait ends with an error, and it goes on."""
    manager, task = owner.call(make, loop_factory=loop_factory), Endless()
    loop = manager.get_event_loop()
    if doing == "run":
        waits = owner.begin(manager.run, task.wait())
    elif doing == "result":
        waits = owner.begin(lambda: manager.submit_task(task.wait()).result())
    else:
        owner.call(manager.submit_task, task.wait())
    reached(task.began)
    other.call(manager.stop, LIMIT)
    assert loop.is_closed()
    assert task.cleaned.is_set()
    assert task.threads == {owner.thread.ident}
    if doing != "nothing":
        with pytest.raises(RuntimeError, match="stopped"):
            waits.result(LIMIT)
    assert owner.call(current_manager).state == "running"
    owner.call(lambda: current_manager().stop())


def test_a_stop_from_its_own_thread(owner: Worker, loop_factory: Factory) -> None:
    """A function may stop its thread's manager, and start it again: it lives there once more."""
    task = Endless()

    def stop(manager: AsyncioLoopManager) -> list[str]:
        states = [manager.state]
        manager.submit_task(task.wait())
        manager.run(steps())
        manager.stop(LIMIT)
        states.append(manager.state)
        manager.start()
        return [*states, manager.state]

    manager = owner.call(make, loop_factory=loop_factory)
    assert owner.call(stop, manager) == ["running", "stopped", "running"]
    assert task.cleaned.is_set()
    assert thread_of(manager) == owner.thread.ident
    owner.call(manager.stop)


def test_a_stop_in_the_middle_of_another_wait(
    owner: Worker, manager: AsyncioLoopManager, loop_factory: Factory
) -> None:
    """The thread goes on waiting for another loop when a function has stopped its own meanwhile."""
    keeper = make(loop_factory=loop_factory)

    async def stop_and_go_on() -> list[int]:
        await run_in_calling_thread(manager.stop)
        await asyncio.sleep(0.01)
        return await steps()

    try:
        assert len(owner.call(keeper.run, stop_and_go_on())) == 5
        assert manager.state == "stopped"
        future = keeper.submit_task(steps())
        assert len(owner.call(future.result, LIMIT)) == 5
    finally:
        keeper.stop(LIMIT)


def test_waits_for_other_loops_leave_nothing(
    owner: Worker, manager: AsyncioLoopManager, loop_factory: Factory
) -> None:
    """A thread that has waited for other loops in its own can do so when that one is gone."""
    keeper = make(loop_factory=loop_factory)
    try:
        for number in range(20):
            assert owner.call(keeper.run, value(number)) == number
            assert owner.call(keeper.submit_task(value(number)).result, LIMIT) == number
        owner.call(manager.stop)
        for number in range(20):
            assert owner.call(keeper.run, value(number)) == number
            assert owner.call(keeper.submit_task(value(number)).result, LIMIT) == number
    finally:
        keeper.stop(LIMIT)


# -- what others raise in the thread -----------------------------------------------------------


class Injected(Exception):
    """What a library raises in a thread that takes too long."""


def inject(thread: threading.Thread, manager: AsyncioLoopManager, error: type) -> None:
    """Raise something in a thread, as such libraries do."""
    assert thread.ident is not None
    raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
    assert raise_in(ctypes.c_ulong(thread.ident), ctypes.py_object(error)) == 1
    # It comes with the thread's next step.
    manager.get_event_loop().call_soon_threadsafe(int)


# uvloop has no step of Python between two callbacks, and hands on what is raised in one.
PYTHONS_LOOPS = pytest.mark.parametrize("loop_factory", ["ours", "asyncio"], indirect=True)


@PYTHONS_LOOPS
@pytest.mark.parametrize("error", [Injected, SystemExit, KeyboardInterrupt, GeneratorExit])
def test_an_exception_that_hits_an_idle_thread(
    owner: Worker, manager: AsyncioLoopManager, caplog: pytest.LogCaptureFixture, error: type
) -> None:
    """It comes too late for what it was meant for: it is logged, and thread and loop go on."""
    door = Door()
    background = owner.call(manager.submit_task, door.walk())
    door.await_reached()
    owner.call(manager.run, value(0))  # it waits there by now
    with caplog.at_level(logging.ERROR, "wsgi_async"):
        inject(owner.thread, manager, error)
        assert owner.call(manager.run, value(1)) == 1
    assert len(our_log(caplog)) == 1
    door.open()
    assert background.result(LIMIT) == "through"
    assert owner.thread.is_alive()


@PYTHONS_LOOPS
def test_an_exception_that_hits_a_thread_in_a_call(
    owner: Worker, manager: AsyncioLoopManager
) -> None:
    """The call raises it once its coroutine has cleaned up, and the next call is served."""
    task = Endless()
    call = owner.begin(manager.run, task.wait())
    reached(task.began)
    inject(owner.thread, manager, Injected)
    with pytest.raises(Injected):
        call.result(LIMIT)
    assert task.cleaned.is_set()
    assert owner.call(manager.run, value("next")) == "next"
    assert "in_flight=0" in owner.call(repr, manager)


@PYTHONS_LOOPS
def test_an_exception_that_hits_a_thread_that_waits_for_a_future(
    owner: Worker, manager: AsyncioLoopManager
) -> None:
    """The wait ends with it; the task goes on, and can be waited for again."""
    door = Door()
    future = owner.call(manager.submit_task, door.walk())
    door.await_reached()
    waits = owner.begin(future.result)
    wait_until(lambda: bool(vars(future)["_condition"].wakeups), "it does not wait")
    inject(owner.thread, manager, Injected)
    with pytest.raises(Injected):
        waits.result(LIMIT)
    door.open()
    assert owner.call(future.result, LIMIT) == "through"
