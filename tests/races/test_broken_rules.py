"""The enumeration of `test_orders.py` has teeth: it finds each broken rule of the core."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("greenlet", reason="the scheduler's threads are greenlets")

from tests.races import core, scenarios
from tests.races.explorer import BadOrder
from tests.races.world import World, orders

pytestmark = [pytest.mark.timeout(300)]

Scenario = Callable[[World], None]


def _keeper_forgets_claims(patch: pytest.MonkeyPatch) -> None:
    def keeper_leaves(self: Any, *, at_rest: bool) -> None:
        with self.mutex:
            self.poked = self.poked or not at_rest
            self.holder = None

    patch.setattr(core.SharedBaton, "keeper_leaves", keeper_leaves)


def _keeper_takes_the_poke_along(patch: pytest.MonkeyPatch) -> None:
    def keeper_leaves(self: Any, *, at_rest: bool) -> None:
        with self.mutex:
            self.holder = None
            self._grant()

    patch.setattr(core.SharedBaton, "keeper_leaves", keeper_leaves)


def _a_refused_claimant_sleeps_on(patch: pytest.MonkeyPatch) -> None:
    def drop(self: Any, waiter: Any) -> None:
        self._queue_unseen(waiter.job)

    patch.setattr(core.SharedBaton, "_drop", drop)


def _poke_looks_first(patch: pytest.MonkeyPatch) -> None:
    def poke(self: Any) -> None:
        nobody_drives = self.baton.holder is None
        self.baton.poked = True
        if nobody_drives:
            self.wake_keeper()

    patch.setattr(core._driver, "poke", poke)


def _keeper_is_not_woken_for_work(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(core._keeper, "wake", lambda self: None)


def _wake_only_one_that_watches(patch: pytest.MonkeyPatch) -> None:
    original = core._keeper.wake

    def wake(self: Any) -> None:
        if self._watching:
            original(self)

    patch.setattr(core._keeper, "wake", wake)


@pytest.mark.parametrize(
    ("mutate", "scenario", "ours"),
    [
        (_keeper_forgets_claims, scenarios.run_beside_outsider, True),
        (_keeper_takes_the_poke_along, scenarios.run_beside_coroutine_from_outside, True),
        (_a_refused_claimant_sleeps_on, scenarios.help_out_beside_submitter, False),
        (_poke_looks_first, scenarios.run_beside_outsider, True),
        (_keeper_is_not_woken_for_work, scenarios.run_twice_beside_submitter, True),
        (_wake_only_one_that_watches, scenarios.run_beside_submitter, True),
    ],
)
def test_a_broken_rule_is_found(
    mutate: Callable[[pytest.MonkeyPatch], None], scenario: Scenario, ours: bool
) -> None:
    """A core with one rule broken fails in some order."""
    with pytest.raises(BadOrder):
        orders(scenario, ours=ours, preemptions=2, mutate=mutate)
