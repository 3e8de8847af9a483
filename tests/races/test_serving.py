"""Threads that run sync functions for their coroutines, in every order of the threads' steps."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("greenlet", reason="the scheduler's threads are greenlets")

from wsgi_async.core.moves import Nested

from . import serving
from .core import SharedBaton
from .explorer import BadOrder
from .world import orders

if TYPE_CHECKING:
    from collections.abc import Callable

    from .world import Scenario


@pytest.mark.parametrize(
    ("scenario", "drive", "ours", "at_least"),
    [
        (serving.serve_beside_submitter, "auto", True, 200),
        (serving.serve_beside_submitter, "caller", False, 200),
        (serving.serve_beside_submitter, "keeper", True, 200),
        (serving.serve_nested_beside_submitter, "auto", True, 150),
        (serving.serve_nested_beside_submitter, "auto", False, 200),
        (serving.serve_nested_beside_submitter, "caller", True, 150),
        (serving.serve_nested_beside_submitter, "keeper", False, 200),
        (serving.stop_beside_a_pause, "auto", True, 120),
        (serving.stop_beside_a_pause, "caller", False, 180),
        (serving.stop_beside_a_pause, "keeper", True, 100),
    ],
)
def test_beside_another_thread(scenario: Scenario, drive: str, ours: bool, at_least: int) -> None:
    """Each function runs on the thread that waits: 1,700 orders, one preemption."""
    assert orders(scenario, drive=drive, ours=ours, preemptions=1).orders >= at_least


@pytest.mark.parametrize("ours", [True, False])
@pytest.mark.parametrize("drive", ["auto", "caller"])
@pytest.mark.parametrize("scenario", [serving.serve, serving.serve_nested])
def test_taken_over_anywhere(scenario: Scenario, drive: str, ours: bool) -> None:
    """The keeper may take the loop over at each step: 1,200 orders."""
    assert orders(scenario, drive=drive, ours=ours, preemptions=1, timeouts=1).orders >= 120


@pytest.mark.parametrize("ours", [True, False])
@pytest.mark.parametrize("drive", ["auto", "caller"])
@pytest.mark.parametrize(
    ("scenario", "at_least"),
    [
        (serving.take_over, 5),
        (serving.take_over_as_it_returns, 20),
        (serving.take_over_before_a_nested_run, 20),
    ],
)
def test_taken_over_in_the_last_moment(
    scenario: Scenario, drive: str, ours: bool, at_least: int
) -> None:
    """A function that ends, or calls run(), as the time is over has its coroutine go on."""
    report = orders(scenario, drive=drive, ours=ours, preemptions=1, timeouts=1)
    assert report.orders >= at_least


def _nested_does_not_look_again(patch: pytest.MonkeyPatch) -> None:
    def own_nested(self: Any, me: int, job: Any) -> Nested:
        paused, self.paused = self.paused, None
        with self.mutex:
            self._own(job)
        return Nested.DRIVE if paused is None else Nested.DRIVE_IN_PAUSE

    patch.setattr(SharedBaton, "own_nested", own_nested)


def _resumes_without_a_look(patch: pytest.MonkeyPatch) -> None:
    def resume(self: Any, me: int, job: Any) -> bool:
        with self.mutex:
            self.jobs.discard(job)
            self.paused = None
            return True

    patch.setattr(SharedBaton, "resume", resume)


@pytest.mark.parametrize(
    ("mutate", "scenario"),
    [
        (_nested_does_not_look_again, serving.serve_nested),
        (_resumes_without_a_look, serving.serve),
    ],
)
# A broken world leaves coroutines behind.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
def test_a_broken_rule_is_found(
    mutate: Callable[[pytest.MonkeyPatch], None], scenario: Scenario
) -> None:
    """The enumeration has teeth: a core with one rule broken fails in some order."""
    with pytest.raises(BadOrder):
        orders(scenario, preemptions=1, timeouts=1, mutate=mutate)
    gc.collect()
