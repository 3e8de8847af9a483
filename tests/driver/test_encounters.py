"""Known traps of the hand-over, tried at every line that a thread comes by."""

from __future__ import annotations

import asyncio
import concurrent.futures
from typing import TYPE_CHECKING, Any

import pytest

from tests.driver.encounters import Encounter, at_every_line
from tests.driver.parts import LIMIT, steps, value

if TYPE_CHECKING:
    from collections.abc import Callable

    Factory = Callable[[], asyncio.AbstractEventLoop] | None

# Of asyncio's own loop and uvloop, which are driven in the same way, one is enough.
pytestmark = pytest.mark.parametrize("loop_factory", ["ours", "uvloop"], indirect=True)
DRIVES = pytest.mark.parametrize("drive", ["auto", "keeper", "caller"])


def submit_and_wait(encounter: Encounter) -> str:
    future = encounter.manager.submit_task(value("waited for"), return_sync_future=True)
    return future.result(LIMIT)


def on_one_thread(threads: list[int]) -> bool:
    return len(threads) == 5 and len(set(threads)) == 1


@DRIVES
def test_work_that_comes_as_a_caller_leaves_is_not_left_lying(
    loop_factory: Factory, drive: str
) -> None:
    """Whenever another thread submits work beside a call, it starts with no further call."""

    def body(encounter: Encounter) -> None:
        manager = encounter.manager
        encounter.meet(encounter.other, lambda: manager.submit_task(steps()))
        assert encounter.call(manager.run, value(1)) == 1
        encounter.settle()
        if encounter.met is not None:
            assert len(encounter.met.result(LIMIT).result(LIMIT)) == 5

    at_every_line(body, loop_factory, drive=drive)


@DRIVES
def test_work_that_comes_as_a_waiter_leaves_is_not_left_lying(
    loop_factory: Factory, drive: str
) -> None:
    """Whenever another thread submits work beside a waiter that drives, it starts all the same."""

    def body(encounter: Encounter) -> None:
        manager = encounter.manager
        encounter.meet(encounter.other, lambda: manager.submit_task(steps()))
        assert encounter.call(submit_and_wait, encounter) == "waited for"
        encounter.settle()
        if encounter.met is not None:
            assert len(encounter.met.result(LIMIT).result(LIMIT)) == 5

    at_every_line(body, loop_factory, drive=drive)


@pytest.mark.parametrize("drive", ["auto", "keeper"])
def test_work_that_comes_as_the_keeper_falls_asleep_wakes_it(
    loop_factory: Factory, drive: str
) -> None:
    """Whatever the keeper is about to do, it does not sleep over work that is queued."""

    def body(encounter: Encounter) -> None:
        manager = encounter.manager
        encounter.meet(encounter.own, lambda: manager.submit_task(steps()))
        assert on_one_thread(encounter.call(manager.submit_task, steps()).result(LIMIT))
        encounter.settle()
        if encounter.met is not None:
            assert on_one_thread(encounter.met.result(LIMIT).result(LIMIT))

    at_every_line(body, loop_factory, in_keeper=True, drive=drive)


@DRIVES
def test_a_call_that_comes_at_any_moment_of_the_keepers_is_served(
    loop_factory: Factory, drive: str
) -> None:
    """Whatever the keeper is about to do, a caller gets the baton or its work done."""

    def body(encounter: Encounter) -> None:
        manager = encounter.manager
        encounter.meet(encounter.own, lambda: manager.run(steps()))
        future = encounter.call(manager.submit_task, steps())
        assert len(future.result(LIMIT)) == 5
        encounter.settle()
        if encounter.met is not None:
            assert on_one_thread(encounter.met.result(LIMIT)) or drive == "caller"

    at_every_line(body, loop_factory, in_keeper=True, drive=drive)


@DRIVES
def test_two_callers_at_once_are_both_served(loop_factory: Factory, drive: str) -> None:
    """Whenever a second thread calls beside a first, both get their results."""

    def body(encounter: Encounter) -> None:
        manager = encounter.manager
        encounter.meet(encounter.other, lambda: manager.run(steps()))
        assert len(encounter.call(manager.run, steps())) == 5
        encounter.settle()
        if encounter.met is not None:
            assert len(encounter.met.result(LIMIT)) == 5

    at_every_line(body, loop_factory, drive=drive)


@DRIVES
def test_two_waiters_for_one_future_are_both_woken(loop_factory: Factory, drive: str) -> None:
    """Whenever a second thread comes to wait for a future, neither is left waiting."""

    def body(encounter: Encounter) -> None:
        manager = encounter.manager
        future = encounter.own.call(manager.submit_task, steps(), return_sync_future=True)
        encounter.meet(encounter.other, lambda: future.result(LIMIT))
        threads = encounter.call(future.result, LIMIT)
        assert len(threads) == 5
        encounter.settle()
        if encounter.met is not None:
            assert encounter.met.result(LIMIT) == threads

    at_every_line(body, loop_factory, drive=drive)


@DRIVES
def test_a_cancellation_that_comes_beside_a_waiter_wakes_it(
    loop_factory: Factory, drive: str
) -> None:
    """Whenever a future is cancelled, its waiter gets the result or learns that there is none."""

    def body(encounter: Encounter) -> None:
        manager = encounter.manager
        future = encounter.own.call(manager.submit_task, steps(), return_sync_future=True)
        encounter.meet(encounter.other, future.cancel)
        try:
            assert len(encounter.call(future.result, LIMIT)) == 5
        except concurrent.futures.CancelledError:
            assert future.cancelled()
            assert encounter.met is not None

    at_every_line(body, loop_factory, drive=drive)


@DRIVES
def test_a_wake_up_from_outside_is_not_lost_on_a_caller(loop_factory: Factory, drive: str) -> None:
    """Whenever another thread puts something on the loop beside a call, it runs at once."""

    def body(encounter: Encounter) -> None:
        ran: concurrent.futures.Future[bool] = concurrent.futures.Future()
        call = encounter.manager.get_event_loop().call_soon_threadsafe
        encounter.meet(encounter.other, lambda: call(ran.set_result, True))
        assert encounter.call(encounter.manager.run, value(1)) == 1
        encounter.settle()
        if encounter.met is not None:
            assert ran.result(LIMIT)

    at_every_line(body, loop_factory, drive=drive)


@pytest.mark.parametrize("drive", ["auto", "keeper"])
def test_a_wake_up_from_outside_is_not_lost_on_the_keeper(
    loop_factory: Factory, drive: str
) -> None:
    """Whatever the keeper is about to do, what comes onto the loop runs at once."""

    def body(encounter: Encounter) -> None:
        loop = encounter.manager.get_event_loop()
        encounter.meet(encounter.other, lambda: asyncio.run_coroutine_threadsafe(steps(), loop))
        future = encounter.call(encounter.manager.submit_task, value(1))
        assert future.result(LIMIT) == 1
        encounter.settle()
        if encounter.met is not None:
            assert on_one_thread(encounter.met.result(LIMIT).result(LIMIT))

    at_every_line(body, loop_factory, in_keeper=True, drive=drive)


def unless_stopped(call: Callable[[], Any]) -> Any:
    """What a call brings that a stop() may overtake; None if it did."""
    try:
        return call()
    except RuntimeError as error:
        if "stopped" in str(error):
            return None
        raise


@DRIVES
@pytest.mark.parametrize("way", ["run", "submit"])
def test_a_stop_that_comes_beside_a_call_wakes_it(
    loop_factory: Factory, drive: str, way: str
) -> None:
    """Whenever stop() is called, who waits gets a result or a RuntimeError, and nobody hangs."""

    def body(encounter: Encounter) -> None:
        manager = encounter.manager
        encounter.meet(encounter.other, lambda: manager.stop(LIMIT), or_keeper=True)

        def call() -> Any:
            if way == "run":
                return unless_stopped(lambda: manager.run(steps()))
            return unless_stopped(lambda: submit_and_wait(encounter))

        assert encounter.call(call) or encounter.met is not None
        manager.stop(LIMIT)

    at_every_line(body, loop_factory, drive=drive)
