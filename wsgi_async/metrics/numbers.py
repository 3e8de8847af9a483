"""The numbers that are counted in this process."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from itertools import accumulate
from typing import Literal, TypedDict

__all__ = [
    "BUCKETS",
    "HOLDERS",
    "KINDS",
    "OTHERS",
    "Calls",
    "Event",
    "Gauges",
    "Numbers",
    "Totals",
]

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Seconds: the upper bounds of the histogram."""

KINDS: tuple[str, ...] = ("run", "submit_task", "stream", "context_manager")

HOLDERS: tuple[str, ...] = ("coroutine", "view")

OTHERS = "(others)"
"""Stands for the names of coroutines after the first hundred."""

_NAMES = 100


class Calls(TypedDict):
    """Calls of one kind."""

    count: int
    seconds: float
    """The total time of all calls."""
    buckets: dict[str, int]
    """The number of calls that took at most this many seconds, by upper bound."""


class Gauges(TypedDict):
    """Current values."""

    managers: dict[str, int]
    """By `"keeper"` (a loop on a thread of its own), `"resident"` (on the worker thread) and
    `"guest"` (on the loop of somebody else, such as an ASGI server)."""
    tasks_in_flight: int
    resources_open: int
    loop_lag_seconds: float
    """The longest time that one of the loops with work took to answer, in the last second."""


class Numbers(Gauges):
    """The return value of `read()`.

    `managers`, `tasks_in_flight`, `resources_open` and `loop_lag_seconds` are current values. All
    others are totals since the start.
    """

    loop_blocked_seconds: dict[str, float]
    """By what held up the loop: a `"coroutine"`, or a `"view"` on a worker thread with a loop."""
    calls: dict[str, Calls]
    """By `"run"`, `"submit_task"`, `"stream"` (one item) and `"context_manager"`."""
    timeouts: int
    lost_wakeups: int
    tasks_cut_off: dict[str, int]
    """By the name of the coroutine."""


Event = tuple[Literal["call", "blocked", "cut_off", "lost_wakeup", "timeout"], str, float]
"""What has happened, its kind or name, and how many seconds it took."""


class Totals:
    """Counts as plain numbers. Lives as long as the metrics; one thread at a time uses it."""

    def __init__(self) -> None:
        self._counts = {kind: [0] * (len(BUCKETS) + 1) for kind in KINDS}
        self._seconds = dict.fromkeys(KINDS, 0.0)
        self._blocked = dict.fromkeys(HOLDERS, 0.0)
        self._once: Counter[str] = Counter()
        self._cut_off: Counter[str] = Counter()

    def add(self, event: Event) -> Event:
        """Count an event. Returns it with the name that others have to count it under."""
        what, name, seconds = event
        if what == "call":
            self._counts[name][bisect_left(BUCKETS, seconds)] += 1
            self._seconds[name] += seconds
        elif what == "blocked":
            self._blocked[name] += seconds
        elif what == "cut_off":
            if name not in self._cut_off and len(self._cut_off) >= _NAMES:
                name = OTHERS
            self._cut_off[name] += 1
        else:
            self._once[what] += 1
        return what, name, seconds

    def numbers(self, gauges: Gauges) -> Numbers:
        """All numbers."""
        return {
            **gauges,
            "loop_blocked_seconds": dict(self._blocked),
            "calls": {kind: self._calls(kind) for kind in KINDS},
            "timeouts": self._once["timeout"],
            "lost_wakeups": self._once["lost_wakeup"],
            "tasks_cut_off": dict(self._cut_off),
        }

    def _calls(self, kind: str) -> Calls:
        counts = list(accumulate(self._counts[kind]))
        bounds = [*map(str, BUCKETS), "+Inf"]
        return {
            "count": counts[-1],
            "seconds": self._seconds[kind],
            "buckets": dict(zip(bounds, counts, strict=True)),
        }
