"""Pools whose threads have loops, and those loops, in every order of the threads' steps."""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytest.importorskip("greenlet", reason="the scheduler's threads are greenlets")

from tests.races import pools
from tests.races.world import World, orders

pytestmark = [pytest.mark.timeout(300)]

Scenario = Callable[[World], None]


@pytest.mark.parametrize(
    ("scenario", "preemptions", "at_least"),
    [
        (pools.submit_twice, 2, 150),
        (pools.submit_twice_without_loops, 3, 500),
        (pools.submit_three_to_two, 1, 1200),
        (pools.submit_after_idleness, 2, 450),
        (pools.meet, 2, 800),
        (pools.meet_after_idleness, 2, 800),
        (pools.work_beside_a_wait, 3, 40),
        (pools.shut_down_beside_a_wait, 3, 5),
    ],
)
def test_work_for_a_pool(scenario: Scenario, preemptions: int, at_least: int) -> None:
    """All of it is done, by as many threads as there may be, and no idle one sleeps on."""
    assert orders(scenario, preemptions=preemptions).orders >= at_least


@pytest.mark.parametrize(
    ("scenario", "ours", "preemptions", "at_least"),
    [
        (pools.run_inside, True, 2, 150),
        (pools.submit_to_resident, True, 2, 500),
        (pools.run_on_resident, True, 2, 250),
        (pools.run_on_resident, False, 2, 250),
        (pools.two_residents, True, 1, 200),
        (pools.two_residents, False, 1, 350),
        (pools.wait_for_stranger, True, 2, 70),
    ],
)
def test_loops_that_live_on_the_pools_threads(
    scenario: Scenario, ours: bool, preemptions: int, at_least: int
) -> None:
    """They are run by their thread alone, whenever it waits for anything."""
    assert orders(scenario, ours=ours, preemptions=preemptions).orders >= at_least


@pytest.mark.parametrize(
    ("scenario", "preemptions", "at_least"),
    [
        (pools.shut_down, 1, 400),
        (pools.shut_down_and_cancel, 1, 400),
        (pools.shut_down_with_loops, 1, 400),
        (pools.no_threads, 3, 5),
        (pools.one_thread_of_two, 3, 30),
        (pools.fail_to_initialize, 2, 400),
    ],
)
def test_the_end_of_a_pool(scenario: Scenario, preemptions: int, at_least: int) -> None:
    """Whatever was taken has an outcome when a shutdown returns, also where no thread lives."""
    assert orders(scenario, preemptions=preemptions).orders >= at_least


@pytest.mark.parametrize(
    ("scenario", "preemptions", "at_least"),
    [
        (pools.stop_idle, 2, 250),
        (pools.stop_idle_beside_background, 2, 200),
        (pools.stop_at_work, 2, 250),
        (pools.stop_at_endless_work, 2, 250),
        (pools.stop_beside_submitter, 1, 300),
        (pools.stop_by_itself, 1, 60),
        (pools.fork_from_pool, 1, 80),
    ],
)
# In a forked child the parent's coroutines are cut off where they are.
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
def test_the_end_of_a_loop_that_lives_on_a_pools_thread(
    scenario: Scenario, preemptions: int, at_least: int
) -> None:
    """Whoever stops it returns when it is closed, and its thread serves the pool on."""
    assert orders(scenario, preemptions=preemptions).orders >= at_least
