"""Every order of a few threads' steps, up to a bound, and what must hold after each.

The threads are the library's own code over a real asyncio loop; a scheduler lets one take one step
at a time (see `scheduler.py`), and tries every order that can make a difference (see
`explorer.py`) with so many preemptions. After each: at most one thread ran the loop at any time,
nobody sleeps with work to do, every future has its outcome, no coroutine was stepped by a thread
that must not, and nothing is left in the baton. `WSGI_ASYNC_RACES=1` in the environment tries one
preemption more everywhere, which takes long.

The numbers of orders are lower bounds that the tests check, so that none shrinks unseen. They
differ a little between Python versions.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytest.importorskip("greenlet", reason="the scheduler's threads are greenlets")

from tests.races import scenarios
from tests.races.world import World, orders

pytestmark = [pytest.mark.timeout(300)]

Scenario = Callable[[World], None]


@pytest.mark.parametrize(
    ("drive", "ours", "at_least"),
    [("auto", True, 1200), ("caller", True, 1200), ("auto", False, 2000), ("caller", False, 4000)],
)
def test_two_callers_the_keeper_and_a_submitter(drive: str, ours: bool, at_least: int) -> None:
    """Each gets its result in 1,465, 1,372, 2,262 and 4,450 orders with one preemption."""
    report = orders(scenarios.run_twice_beside_submitter, drive=drive, ours=ours, preemptions=1)
    assert report.orders >= at_least


@pytest.mark.parametrize(
    ("scenario", "at_least"),
    [(scenarios.run_twice, 500), (scenarios.run_beside_submitter, 400)],
)
def test_two_threads_and_the_keeper(scenario: Scenario, at_least: int) -> None:
    """A caller beside another, or beside a submitter: 642 and 503 orders with two preemptions."""
    assert orders(scenario, preemptions=2).orders >= at_least


@pytest.mark.parametrize(
    ("scenario", "at_least"),
    [
        (scenarios.help_out_beside_outsider, 180),
        (scenarios.run_beside_outsider, 100),
        (scenarios.run_beside_coroutine_from_outside, 100),
    ],
)
def test_what_comes_in_past_the_manager(scenario: Scenario, at_least: int) -> None:
    """It runs before any timeout in every order: at least 380 with one preemption."""
    assert orders(scenario, preemptions=1).orders >= at_least


@pytest.mark.parametrize(
    ("scenario", "drive", "ours", "at_least"),
    [
        (scenarios.help_out_beside_submitter, "auto", True, 100),
        (scenarios.help_out_beside_submitter, "auto", False, 300),
        (scenarios.help_out_beside_submitter, "caller", False, 300),
        (scenarios.cancel_beside_waiter, "auto", False, 400),
        (scenarios.cancel_beside_waiter, "caller", True, 50),
    ],
)
def test_a_waiter_beside_a_submitter_or_a_canceller(
    scenario: Scenario, drive: str, ours: bool, at_least: int
) -> None:
    """Its future has its outcome, and wakes it, in at least 1,150 orders with one preemption."""
    assert orders(scenario, drive=drive, ours=ours, preemptions=1).orders >= at_least


@pytest.mark.parametrize(
    ("scenario", "drive", "ours", "at_least"),
    [
        (scenarios.submit_and_run, "auto", True, 8),
        (scenarios.run_two_that_meet, "caller", True, 130),
        (scenarios.run_two_that_meet, "caller", False, 120),
    ],
)
def test_coroutines_of_several_calls_in_flight(
    scenario: Scenario, drive: str, ours: bool, at_least: int
) -> None:
    """Coroutines that wait for each other are all started: 342 orders, one preemption."""
    assert orders(scenario, drive=drive, ours=ours, preemptions=1).orders >= at_least


@pytest.mark.parametrize("ours", [True, False])
@pytest.mark.parametrize(
    ("scenario", "at_least"),
    [
        (scenarios.stream_beside_submitter, 250),
        (scenarios.stream_ahead_beside_submitter, 120),
        (scenarios.stream_ahead_and_leave, 5),
    ],
)
def test_streams(scenario: Scenario, ours: bool, at_least: int) -> None:
    """Every item comes, and the generator is closed: 1,247 orders with one preemption."""
    assert orders(scenario, ours=ours, preemptions=1).orders >= at_least


@pytest.mark.parametrize("ours", [True, False])
def test_a_job_that_is_left_to_the_timer(ours: bool) -> None:
    """Nobody waits for it and it is done all the same, in at least 10 orders with each loop."""
    assert orders(scenarios.leave_to_timer, ours=ours, preemptions=1, timeouts=1).orders >= 10


@pytest.mark.parametrize(
    ("scenario", "drive", "timeouts", "at_least"),
    [
        (scenarios.run_with_timeout, "auto", 0, 100),
        (scenarios.result_with_timeout, "auto", 0, 100),
        (scenarios.run_with_timeout_between, "caller", 0, 800),
        (scenarios.run_with_timeout_behind, "caller", 1, 400),
    ],
)
def test_a_timeout_as_the_baton_is_granted(
    scenario: Scenario, drive: str, timeouts: int, at_least: int
) -> None:
    """Who gives up as its turn comes passes the baton on: at least 1,000 orders in all."""
    report = orders(scenario, drive=drive, preemptions=1, timeouts=timeouts)
    assert report.orders >= at_least


@pytest.mark.parametrize(
    ("scenario", "at_least"),
    [(scenarios.stop_beside_work, 1500), (scenarios.stop_beside_endless_work, 1200)],
)
def test_a_stop_beside_a_caller_and_a_submitter(scenario: Scenario, at_least: int) -> None:
    """Whatever is cut off by it ends with an error: 1,916 and 1,594 orders, one preemption."""
    assert orders(scenario, preemptions=1).orders >= at_least
