"""Take measurements in turn, and sum them up."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from time import perf_counter_ns

Call = Callable[[], object]
"""One call of what is measured."""

Measure = Callable[[], Sequence[float]]
"""Measures one round; returns one value or several."""

SEED = 20240229
"""Fixes the order of each round, so that two runs measure in the same order."""


@dataclass(frozen=True)
class Series:
    """All values that were measured of one contender; lives as long as the run.

    Args:
        unit: of every value: "us", "1/s", "KiB" and so on.
        values: at least one.
    """

    unit: str
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle value, in `unit`."""
        return statistics.median(self.values)

    @property
    def quartiles(self) -> tuple[float, float]:
        """The values that a quarter and three quarters of all lie below, in `unit`."""
        if len(self.values) == 1:
            return self.values[0], self.values[0]
        low, _, high = statistics.quantiles(self.values, n=4, method="inclusive")
        return low, high


Scenario = dict[str, Series]
"""Contender's key: what was measured of it."""

Results = dict[str, Scenario]
"""Scenario's name: its contenders."""


def ratio(results: Results, scenario: str, over: str, under: str) -> float:
    """Return the ratio of two medians that were taken in the same scenario.

    Raises:
        KeyError: one of them was not measured.
    """
    contenders = results[scenario]
    return contenders[over].median / contenders[under].median


def interleave(
    measures: Mapping[str, Measure], unit: str, *, rounds: int, warm_up: int = 1
) -> Scenario:
    """Measure all contenders once in each round, in a shuffled order.

    Args:
        measures: contender's key: measures one round of it.
        unit: of the values that the measures return.
        rounds: how many rounds are kept.
        warm_up: how many rounds are taken before and thrown away.
    """
    order = list(measures)
    kept: dict[str, list[float]] = {key: [] for key in measures}
    shuffle = random.Random(SEED).shuffle
    for turn in range(-warm_up, rounds):
        shuffle(order)
        for key in order:
            values = measures[key]()
            if turn >= 0:
                kept[key].extend(values)
    return {key: Series(unit, tuple(values)) for key, values in kept.items()}


def batch(call: Call, calls: int) -> Measure:
    """Measure `calls` calls as one: the mean time of a call in microseconds, one value a round.

    A tenth as many go before, untimed: the contender before has left cold caches behind.
    """

    def measure() -> Sequence[float]:
        for _ in repeat(None, calls // 10):
            call()
        start = perf_counter_ns()
        for _ in repeat(None, calls):
            call()
        return ((perf_counter_ns() - start) / calls / 1000,)

    return measure


def latencies(call: Call, calls: int, *, before: Call | None = None) -> Measure:
    """Measure each call for itself: its time in microseconds, `calls` values a round.

    Args:
        call: what is measured.
        calls: how many there are in a round.
        before: called before each, outside the timed part.
    """

    def measure() -> Sequence[float]:
        taken = []
        for _ in repeat(None, calls):
            if before is not None:
                before()
            start = perf_counter_ns()
            call()
            taken.append((perf_counter_ns() - start) / 1000)
        return taken

    return measure
