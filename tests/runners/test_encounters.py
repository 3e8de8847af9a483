"""Threads that meet at a loop, tried at every line of the core that one of them comes by."""

from __future__ import annotations

import asyncio
import concurrent.futures
from typing import TYPE_CHECKING, Any

import pytest

from tests.runners.encounters import Encounter, at_every_line
from tests.runners.parts import LIMIT, steps, value
from wsgi_async.core.managers.manager import lifecycle_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsgi_async import SyncFuture

    Factory = Callable[[], asyncio.AbstractEventLoop] | None

# Of asyncio's own loop and uvloop, which are run in the same way, one is enough.
pytestmark = pytest.mark.parametrize("loop_factory", ["ours", "uvloop"], indirect=True)
PLACES = pytest.mark.parametrize("place", ["caller", "keeper", "resident"])


def submit_and_wait(encounter: Encounter) -> str:
    return encounter.manager.submit_task(value("waited for")).result(LIMIT)


def on_one_thread(threads: list[int]) -> bool:
    return len(threads) == 5 and len(set(threads)) == 1


@PLACES
def test_work_that_comes_beside_a_call_is_begun(loop_factory: Factory, place: str) -> None:
    """Whenever another thread submits work beside a call, it starts with no further call."""

    def body(encounter: Encounter) -> None:
        manager = encounter.manager
        encounter.meet(encounter.other, lambda: manager.submit_task(steps()))
        assert encounter.call(manager.run, value(1)) == 1
        encounter.settle()
        if encounter.met is not None:
            assert on_one_thread(encounter.met.result(LIMIT).result(LIMIT))

    at_every_line(body, place, loop_factory)


@PLACES
def test_work_that_comes_beside_a_waiter_is_begun(loop_factory: Factory, place: str) -> None:
    """Whenever another thread submits work beside one that waits, it starts all the same."""

    def body(encounter: Encounter) -> None:
        manager = encounter.manager
        encounter.meet(encounter.other, lambda: manager.submit_task(steps()))
        assert encounter.call(submit_and_wait, encounter) == "waited for"
        encounter.settle()
        if encounter.met is not None:
            assert on_one_thread(encounter.met.result(LIMIT).result(LIMIT))

    at_every_line(body, place, loop_factory)


@PLACES
def test_a_call_that_comes_beside_work_is_served(loop_factory: Factory, place: str) -> None:
    """Whatever the loop's thread is about to do for a task, another thread's call is served."""

    def body(encounter: Encounter) -> None:
        manager = encounter.manager
        encounter.meet(encounter.other, lambda: manager.run(steps()))
        future = encounter.call(manager.submit_task, steps())
        assert on_one_thread(future.result(LIMIT))
        encounter.settle()
        if encounter.met is not None:
            assert on_one_thread(encounter.met.result(LIMIT))

    at_every_line(body, place, loop_factory)


@PLACES
def test_two_callers_at_once_are_both_served(loop_factory: Factory, place: str) -> None:
    """Whenever a second thread calls beside a first, both get their results."""

    def body(encounter: Encounter) -> None:
        manager = encounter.manager
        encounter.meet(encounter.other, lambda: manager.run(steps()))
        assert on_one_thread(encounter.call(manager.run, steps()))
        encounter.settle()
        if encounter.met is not None:
            assert on_one_thread(encounter.met.result(LIMIT))

    at_every_line(body, place, loop_factory)


@PLACES
def test_two_waiters_for_one_future_are_both_woken(loop_factory: Factory, place: str) -> None:
    """Whenever a second thread comes to wait for a future, neither is left waiting."""

    def body(encounter: Encounter) -> None:
        futures: list[SyncFuture[list[int]]] = []

        def submit_and_wait() -> list[int]:
            futures.append(encounter.manager.submit_task(steps()))
            return futures[0].result(LIMIT)

        encounter.meet(encounter.other, lambda: [each.result(LIMIT) for each in futures])
        threads = encounter.call(submit_and_wait)
        assert on_one_thread(threads)
        encounter.settle()
        if encounter.met is not None:
            assert encounter.met.result(LIMIT) in ([], [threads])

    at_every_line(body, place, loop_factory)


@PLACES
def test_a_cancellation_beside_a_waiter_wakes_it(loop_factory: Factory, place: str) -> None:
    """Whenever a future is canceled, its waiter gets the result or learns that there is none."""

    def body(encounter: Encounter) -> None:
        futures: list[SyncFuture[list[int]]] = []

        def submit_and_wait() -> list[int]:
            futures.append(encounter.manager.submit_task(steps()))
            return futures[0].result(LIMIT)

        encounter.meet(encounter.other, lambda: [each.cancel() for each in futures])
        try:
            assert on_one_thread(encounter.call(submit_and_wait))
        except concurrent.futures.CancelledError:
            assert futures[0].cancelled()
            assert encounter.met is not None

    at_every_line(body, place, loop_factory)


@PLACES
def test_a_callback_from_outside_is_not_lost(loop_factory: Factory, place: str) -> None:
    """Whenever another thread puts something on the loop past the manager, it runs at once."""

    def body(encounter: Encounter) -> None:
        loop = encounter.manager.get_event_loop()
        encounter.meet(encounter.other, lambda: asyncio.run_coroutine_threadsafe(steps(), loop))
        assert encounter.call(encounter.manager.run, value(1)) == 1
        encounter.settle()
        if encounter.met is not None:
            assert on_one_thread(encounter.met.result(LIMIT).result(LIMIT))

    at_every_line(body, place, loop_factory)


def unless_stopped(call: Callable[[], Any]) -> Any:
    """What a call brings that a stop() may overtake; None if it did."""
    try:
        return call()
    except RuntimeError as error:
        if "stopped" in str(error):
            return None
        raise


@PLACES
@pytest.mark.parametrize("way", ["run", "submit"])
def test_a_stop_that_comes_beside_a_call_wakes_it(
    loop_factory: Factory, place: str, way: str
) -> None:
    """Whenever a stop is asked for, each waiting thread gets a result or an error."""

    def body(encounter: Encounter) -> None:
        manager = encounter.manager
        # Its second half waits for the end.
        encounter.meet(encounter.other, lambda: lifecycle_of(manager).ask_to_stop(LIMIT))

        def call() -> Any:
            if way == "run":
                return unless_stopped(lambda: manager.run(steps()))
            return unless_stopped(lambda: submit_and_wait(encounter))

        assert encounter.call(call) or encounter.met is not None
        encounter.settle()
        if encounter.met is not None:
            encounter.other.call(encounter.met.result(LIMIT))
            assert manager.state == "stopped"

    at_every_line(body, place, loop_factory)
