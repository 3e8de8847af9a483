"""Every order of a few threads' steps, up to a bound, and what must hold after each.

The threads are the library's own code over a real asyncio loop; a scheduler lets one take one step
at a time (see `scheduler.py`), and tries every order that can make a difference (see
`explorer.py`) with so many preemptions. What is a step, the package says: the comment beside each
field tells what guards it (see `fields.py`), and that is checked at each touch.

After each order: at most one thread ran a loop at any time, and always the same one; nobody sleeps
with work to do; every future and every waiter has its outcome; nothing is begun on a closed loop,
and no coroutine is left open. `WSGI_ASYNC_RACES=1` in the environment tries one preemption more
everywhere, which takes an hour.

The numbers of orders are lower bounds that the tests check, so that none shrinks unseen. They
differ a little between Python versions.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytest.importorskip("greenlet", reason="the scheduler's threads are greenlets")

from tests.races import scenarios, serving, stopping
from tests.races.world import World, orders

pytestmark = [pytest.mark.timeout(300)]

Scenario = Callable[[World], None]


@pytest.mark.parametrize(
    ("scenario", "ours", "preemptions", "at_least"),
    [
        (scenarios.run_twice, True, 3, 350),
        (scenarios.run_beside_submitter, True, 2, 180),
        (scenarios.run_twice_beside_submitter, True, 1, 330),
        (scenarios.run_twice_beside_submitter, False, 1, 330),
        (scenarios.result_beside_submitter, True, 2, 400),
        (scenarios.submit_and_run, True, 3, 50),
        (scenarios.run_two_that_meet, True, 2, 300),
        (scenarios.run_two_that_meet, False, 2, 300),
    ],
)
def test_calls_and_submissions(
    scenario: Scenario, ours: bool, preemptions: int, at_least: int
) -> None:
    """Each thread gets its result, on our loops and on those that cannot be looked into."""
    assert orders(scenario, ours=ours, preemptions=preemptions).orders >= at_least


@pytest.mark.parametrize(
    ("scenario", "preemptions", "at_least"),
    [
        (scenarios.run_beside_outsider, 3, 150),
        (scenarios.result_beside_outsider, 2, 200),
        (scenarios.run_beside_coroutine_from_outside, 2, 90),
    ],
)
def test_what_comes_in_past_the_manager(
    scenario: Scenario, preemptions: int, at_least: int
) -> None:
    """It runs before any timeout in every order."""
    assert orders(scenario, preemptions=preemptions).orders >= at_least


@pytest.mark.parametrize(
    ("scenario", "preemptions", "timeouts", "at_least"),
    [
        (scenarios.two_waiters, 2, 0, 210),
        (scenarios.two_waiters, 1, 1, 200),
        (scenarios.fill_by_hand, 2, 0, 150),
        (scenarios.cancel_beside_waiter, 2, 0, 700),
        (scenarios.cancel_beside_waiter_and_submitter, 1, 0, 800),
    ],
)
def test_futures(scenario: Scenario, preemptions: int, timeouts: int, at_least: int) -> None:
    """Every waiter is woken, and no result is lost, whoever waits, gives up or cancels."""
    report = orders(scenario, preemptions=preemptions, timeouts=timeouts)
    assert report.orders >= at_least


@pytest.mark.parametrize(
    ("scenario", "preemptions", "at_least"),
    [
        (scenarios.run_with_timeout, 2, 300),
        (scenarios.run_with_timeout_beside_submitter, 1, 1500),
        (scenarios.run_with_timeout_that_tidies, 1, 500),
        (scenarios.run_that_resists, 2, 400),
        (serving.serve_with_timeout, 2, 1000),
        (serving.serve_who_is_released, 1, 50),
    ],
)
def test_a_time_that_is_over(scenario: Scenario, preemptions: int, at_least: int) -> None:
    """It may be over at any step; the coroutine is cancelled once, and the next call is served."""
    assert orders(scenario, preemptions=preemptions, timeouts=1).orders >= at_least


@pytest.mark.parametrize(
    ("scenario", "preemptions", "at_least"),
    [
        (scenarios.end_group, 2, 600),
        (scenarios.end_group_beside_submitter, 1, 500),
        (stopping.end_group_beside_stop, 1, 300),
    ],
)
def test_groups(scenario: Scenario, preemptions: int, at_least: int) -> None:
    """What is in a group has ended when it has, and what comes late is refused."""
    assert orders(scenario, preemptions=preemptions).orders >= at_least


@pytest.mark.parametrize(
    ("scenario", "preemptions", "at_least"),
    [
        (scenarios.stream_beside_submitter, 1, 150),
        (scenarios.stream_ahead_beside_submitter, 1, 120),
        (scenarios.stream_ahead_and_leave, 3, 40),
    ],
)
def test_streams(scenario: Scenario, preemptions: int, at_least: int) -> None:
    """Every item comes, and the generator is closed."""
    assert orders(scenario, preemptions=preemptions).orders >= at_least


@pytest.mark.parametrize(
    ("scenario", "preemptions", "at_least"),
    [
        (serving.serve, 3, 150),
        (serving.serve_beside_submitter, 1, 100),
        (serving.serve_nested_beside_submitter, 1, 180),
        (serving.serve_who_leaves, 3, 50),
        (serving.serve_beside_stop, 2, 400),
    ],
)
def test_functions_for_the_thread_that_waits(
    scenario: Scenario, preemptions: int, at_least: int
) -> None:
    """Each runs on that thread with no running loop, or is refused, and its coroutine goes on."""
    assert orders(scenario, preemptions=preemptions).orders >= at_least


@pytest.mark.parametrize(
    ("scenario", "preemptions", "at_least"),
    [
        (stopping.stop_beside_work, 1, 400),
        (stopping.stop_beside_endless_work, 1, 500),
        (stopping.stop_twice, 1, 500),
        (stopping.stop_beside_tidying, 2, 100),
        (stopping.stop_in_vain, 2, 100),
        (stopping.submit_after_stop, 2, 300),
    ],
)
def test_stops(scenario: Scenario, preemptions: int, at_least: int) -> None:
    """Whatever is cut off ends with an error that tells why, and nothing is begun afterwards."""
    assert orders(scenario, preemptions=preemptions).orders >= at_least


@pytest.mark.parametrize(
    ("scenario", "preemptions", "at_least"),
    [(stopping.start_twice, 2, 1000), (stopping.restart_beside_work, 2, 600)],
)
def test_starts(scenario: Scenario, preemptions: int, at_least: int) -> None:
    """One thread starts a manager, the others learn of it, and all can use it then."""
    assert orders(scenario, preemptions=preemptions).orders >= at_least


@pytest.mark.parametrize(
    ("scenario", "preemptions", "at_least"),
    [
        (stopping.owner_ends_beside_work, 2, 600),
        (stopping.owner_ends_beside_stop, 1, 500),
        (stopping.fork_beside_work, 1, 280),
    ],
)
# In a forked child the parent's coroutines are cut off where they are.
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
def test_the_ends_of_threads_and_processes(
    scenario: Scenario, preemptions: int, at_least: int
) -> None:
    """A thread that ends stops its manager; a forked child uses none and hangs nowhere."""
    assert orders(scenario, preemptions=preemptions).orders >= at_least


@pytest.mark.parametrize(
    ("scenario", "preemptions", "timeouts", "at_least"),
    [
        (stopping.three_callers_beside_stop, 1, 0, 1000),
        (stopping.three_callers_beside_the_owners_end, 0, 1, 600),
        (stopping.three_callers_beside_the_owners_end, 1, 0, 1000),
    ],
)
def test_three_callers(scenario: Scenario, preemptions: int, timeouts: int, at_least: int) -> None:
    """A timeout, a cancellation and an end may meet: each caller has an outcome that fits."""
    report = orders(scenario, preemptions=preemptions, timeouts=timeouts)
    assert report.orders >= at_least
