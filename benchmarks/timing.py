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


class Missing(Exception):
    """What a scenario needs is not on this machine; the scenario is left out."""


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

    As many go before, untimed. The contender before has left cold caches, and has made the
    interpreter specialise the code of asyncio for another class of loop or selector; it takes some
    fifty calls until that is undone. `burst()` tells what the first calls cost.
    """

    def measure() -> Sequence[float]:
        _timed(call, calls)
        return (_timed(call, calls),)

    return measure


def burst(call: Call, calls: int, *, before: Call) -> Measure:
    """Measure the first calls after something else, which is `before` and not timed."""

    def measure() -> Sequence[float]:
        before()
        return (_timed(call, calls),)

    return measure


def _timed(call: Call, calls: int) -> float:
    start = perf_counter_ns()
    for _ in repeat(None, calls):
        call()
    return (perf_counter_ns() - start) / calls / 1000


def latencies(call: Call, calls: int) -> Measure:
    """Measure each call for itself: its time in microseconds, `calls` values a round."""

    def measure() -> Sequence[float]:
        return [_timed(call, 1) for _ in repeat(None, calls)]

    return measure
