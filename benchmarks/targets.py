"""The figures to reach, and how each is read from the results. Written once: here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from benchmarks.timing import Results, ratio


@dataclass(frozen=True)
class Target:
    """One figure to reach; exactly one of the bounds is given.

    Args:
        key: its name in the JSON.
        what: what is compared with what.
        measure: reads the figure from the results; `KeyError` where it was not measured.
        at_most: the greatest value that is good.
        at_least: the smallest value that is good.
        unit: of the figure; none for a ratio.
    """

    key: str
    what: str
    measure: Callable[[Results], float]
    at_most: float | None = None
    at_least: float | None = None
    unit: str = ""

    @property
    def bound(self) -> str:
        """The bound for people."""
        sign, value = ("<=", self.at_most) if self.at_least is None else (">=", self.at_least)
        return f"{sign} {value:g} {self.unit}".strip()

    def reached(self, value: float) -> bool:
        """Tell whether a measured value is good, unrounded."""
        if self.at_least is not None:
            return value >= self.at_least
        return self.at_most is not None and value <= self.at_most


@dataclass(frozen=True)
class Figure:
    """A target with what was measured; `value` is None where it was not."""

    target: Target
    value: float | None

    @property
    def reached(self) -> bool | None:
        """Whether it was reached; None where it was not measured."""
        return None if self.value is None else self.target.reached(self.value)


def _ratio(scenario: str, over: str, under: str) -> Callable[[Results], float]:
    return partial(ratio, scenario=scenario, over=over, under=under)


def _median(scenario: str, key: str) -> Callable[[Results], float]:
    return lambda results: results[scenario][key].median


def added_by_middleware(results: Results) -> float:
    """Return the time that the middleware adds, as a share of one no-op call at the limit."""
    measured = results["middleware"]
    added = measured["wrapped"].median - measured["bare"].median
    return added / measured["limit"].median


TARGETS = (
    Target(
        "run",
        "run() / limit",
        _ratio("alone", "run", "limit"),
        at_most=1.15,
    ),
    Target(
        "submit",
        "submit_task().result() / limit",
        _ratio("alone", "submit", "limit"),
        at_most=1.75,
    ),
    Target(
        "threadsafe",
        "run_coroutine_threadsafe / run()",
        _ratio("alone", "threadsafe", "run"),
        at_least=4,
    ),
    Target(
        "asgiref",
        "asgiref async_to_sync / run()",
        _ratio("with_asgiref", "asgiref", "run"),
        at_least=30,
    ),
    Target(
        "run_with_asgiref",
        "run() / limit, where asgiref is imported",
        _ratio("with_asgiref", "run", "limit"),
        at_most=1.25,
    ),
    Target(
        "hop",
        "run() as a hop / run_coroutine_threadsafe",
        _ratio("hop", "hop", "threadsafe"),
        at_most=0.7,
    ),
    Target(
        "threads",
        "8 threads: run() / limit, calls per second",
        _ratio("threads", "run", "limit"),
        at_least=0.9,
    ),
    Target(
        "threads_idle",
        "the same with an idle socket on each loop",
        _ratio("threads", "run_idle", "limit_idle"),
        at_least=0.85,
    ),
    Target(
        "neighbours",
        "2 CPU-bound neighbours: run() / limit, median latency",
        _ratio("neighbours", "run", "limit"),
        at_most=2,
    ),
    Target(
        "neighbours_idle",
        "the same with an idle socket on the loop",
        _ratio("neighbours", "run_idle", "limit_idle"),
        at_most=2,
    ),
    Target(
        "middleware",
        "time added by the middleware / limit",
        added_by_middleware,
        at_most=0.3,
    ),
    Target(
        "iterate",
        "iterate() / limit, 10,000 items",
        _ratio("stream", "iterate", "limit"),
        at_most=1,
    ),
    Target(
        "prefetch",
        "the same with prefetch=16",
        _ratio("stream", "prefetch", "limit"),
        at_most=0.5,
    ),
    Target(
        "resource",
        "await resource() once open / await of a dictionary look-up",
        _ratio("resource", "resource", "look_up"),
        at_most=3,
    ),
    Target(
        "failures",
        "run() that raises / run() that returns, beside 5,000 idle tasks",
        _ratio("failures", "raises", "returns"),
        at_most=1.5,
    ),
    Target(
        "async_to_sync",
        "our async_to_sync(noop)() / asgiref's, calls per second",
        _ratio("async_to_sync", "asgiref", "ours"),  # of times, so the other way round
        at_least=15,
    ),
    Target(
        "sync_to_async",
        "await sync_to_async(noop)() inside: ours / asgiref's, calls per second",
        _ratio("sync_to_async", "asgiref", "ours"),
        at_least=1.5,
    ),
    Target(
        "requests",
        "our Flask view / Flask async def view, requests per second",
        _ratio("requests", "ours", "flask_async"),
        at_least=2,
    ),
    Target(
        "flask",
        "Flask async def view, with / without the integration, requests per second",
        _ratio("flask", "ours", "own"),
        at_least=2,
    ),
    Target(
        "django",
        "Django async view, a query and 3 concurrent awaits, with / without, requests per second",
        _ratio("django", "ours", "own"),
        at_least=1.5,
    ),
    Target(
        "upstream",
        "5 HTTP calls: client kept / client per request, requests per second",
        _ratio("upstream", "ours", "asyncio_run"),
        at_least=3,
    ),
    Target(
        "events",
        "a Server-Sent Event from its making to its arrival, median",
        _median("events", "iterate"),
        at_most=5,
        unit="ms",
    ),
    Target(
        "descriptors",
        "a manager at rest: file descriptors",
        _median("rest", "descriptors"),
        at_most=4,
    ),
    Target(
        "rest_threads",
        "a manager at rest: threads",
        _median("rest", "threads"),
        at_most=1,
    ),
    Target(
        "memory",
        "a manager at rest: memory",
        _median("rest", "memory_used"),
        at_most=60,
        unit="KiB",
    ),
    Target(
        "idle_cpu",
        "all managers at rest: share of one core",
        _median("rest", "idle_cpu"),
        at_most=1,
        unit="%",
    ),
)


def figures(results: Results) -> list[Figure]:
    """Read all figures from the results."""
    return [Figure(target, _read(target, results)) for target in TARGETS]


def _read(target: Target, results: Results) -> float | None:
    try:
        return target.measure(results)
    except KeyError:
        return None
