"""The arithmetic of the benchmark."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count

import pytest

from benchmarks import timing
from benchmarks.timing import Measure, Series


def test_median_and_quartiles() -> None:
    """A series is summed up by its middle value and its middle half, whatever its order."""
    series = Series("us", (9.0, 1.0, 5.0, 3.0, 7.0))
    assert series.median == 5.0
    assert series.quartiles == (3.0, 7.0)


def test_quartiles_of_one_value() -> None:
    """A figure that is measured once is its own middle half."""
    assert Series("KiB", (4.0,)).quartiles == (4.0, 4.0)


def test_ratio_is_of_medians() -> None:
    """A ratio compares medians, so one slow round does not decide it."""
    results = {
        "alone": {"run": Series("us", (8.0, 9.0, 900.0)), "limit": Series("us", (3.0, 3.0, 3.0))}
    }
    assert timing.ratio(results, "alone", "run", "limit") == 3.0


def recorder(log: list[str], key: str) -> Measure:
    """Return a measure that notes its turns; its values are their numbers, from 0."""
    turns = count()

    def measure() -> Sequence[float]:
        log.append(key)
        return (float(next(turns)),)

    return measure


def test_contenders_take_turns() -> None:
    """Every contender is measured once a round, so a slow moment of the machine hits all."""
    log: list[str] = []
    timing.interleave({key: recorder(log, key) for key in "abc"}, "us", rounds=8)
    rounds = [log[start : start + 3] for start in range(0, len(log), 3)]
    assert [sorted(each) for each in rounds] == [["a", "b", "c"]] * 9
    assert len({tuple(each) for each in rounds}) > 1, "the order never changes"


def test_the_order_is_the_same_in_each_run() -> None:
    """Two runs measure in the same order, so they can be compared."""
    logs: list[list[str]] = [[], []]
    for log in logs:
        timing.interleave({key: recorder(log, key) for key in "abcd"}, "us", rounds=5)
    assert logs[0] == logs[1]


def test_warm_up_is_not_counted() -> None:
    """What is measured while caches fill is thrown away."""
    log: list[str] = []
    scenario = timing.interleave({"a": recorder(log, "a")}, "us", rounds=3, warm_up=2)
    assert scenario["a"] == Series("us", (2.0, 3.0, 4.0))


def clock(monkeypatch: pytest.MonkeyPatch, *, step: int) -> Iterator[int]:
    """Let each look at the clock be `step` nanoseconds after the last one."""
    ticks = count(0, step)
    monkeypatch.setattr(timing, "perf_counter_ns", lambda: next(ticks))
    return ticks


def test_batch_is_the_mean_of_its_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch is timed as a whole, and the time shared out among its calls."""
    clock(monkeypatch, step=40_000)
    assert timing.batch(lambda: None, 4)() == (10.0,)


def test_batch_has_a_run_up_that_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first calls after another contender are made, and not counted."""
    ticks = clock(monkeypatch, step=1_000)
    called: list[int] = []

    def call() -> None:
        called.append(next(ticks))

    assert timing.batch(call, 3)() == (4 / 3,)
    assert len(called) == 6


def test_burst_leaves_out_what_goes_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first calls after a pause are timed, all of them, and the pause is not."""
    ticks = clock(monkeypatch, step=3_000)
    log: list[str] = []

    def pause() -> None:
        log.append("pause")
        next(ticks)

    assert timing.burst(lambda: log.append("call"), 2, before=pause)() == (1.5,)
    assert log == ["pause", "call", "call"]


def test_latencies_time_each_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under neighbours each call has its own time."""
    clock(monkeypatch, step=3_000)
    called: list[None] = []
    assert timing.latencies(lambda: called.append(None), 2)() == [3.0, 3.0]
    assert len(called) == 2
