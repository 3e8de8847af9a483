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
        "resident",
        "loop on the worker: run() / limit",
        _ratio("alone", "resident", "limit"),
        at_most=1.2,
    ),
    Target(
        "resident_task",
        "the same beside a task that waits",
        _ratio("task", "resident", "limit"),
        at_most=1.2,
    ),
    Target(
        "resident_redis",
        "loop on the worker: run() of a Redis GET / limit",
        _ratio("redis", "resident", "limit"),
        at_most=1.1,
    ),
    Target(
        "resident_redis_task",
        "the same beside a task that waits",
        _ratio("redis_task", "resident", "limit"),
        at_most=1.1,
    ),
    Target(
        "resident_submit",
        "loop on the worker: submit_task().result() / limit",
        _ratio("alone", "resident_submit", "limit"),
        at_most=1.75,
    ),
    Target(
        "resident_with_asgiref",
        "loop on the worker: run() / limit, where asgiref is imported",
        _ratio("with_asgiref", "resident", "limit"),
        at_most=1.25,
    ),
    Target(
        "resident_threads",
        "8 threads, loops on them: run() / limit, calls per second",
        _ratio("threads", "resident", "limit"),
        at_least=0.9,
    ),
    Target(
        "resident_neighbours",
        "2 CPU-bound neighbors, loop on the worker: run() / limit, median latency",
        _ratio("neighbours", "resident", "limit"),
        at_most=2,
    ),
    Target(
        "keeper",
        "loop on its own thread: run() / run_coroutine_threadsafe",
        _ratio("alone", "keeper", "threadsafe"),
        at_most=0.4,
    ),
    Target(
        "keeper_redis",
        "loop on its own thread: run() of a Redis GET / limit",
        _ratio("redis", "keeper", "limit"),
        at_most=1.5,
    ),
    Target(
        "keeper_asgiref",
        "asgiref async_to_sync / run(), loop on its own thread",
        _ratio("with_asgiref", "asgiref", "keeper"),
        at_least=12,
    ),
    Target(
        "async_to_sync",
        "our async_to_sync(noop)() / asgiref's, calls per second, loop on its own thread",
        _ratio("async_to_sync", "asgiref", "keeper"),  # of times, so the other way round
        at_least=10,
    ),
    Target(
        "sync_to_async",
        "await sync_to_async(noop)() inside: ours / asgiref's, calls per second",
        _ratio("sync_to_async", "asgiref", "keeper"),
        at_least=1.5,
    ),
    Target(
        "redis_resident",
        "ten Redis GETs in a view, LoopThreadWorker / limit, requests per second",
        _ratio("redis_view", "resident", "limit"),
        at_least=0.92,
    ),
    Target(
        "redis_keeper",
        "the same, gthread / limit",
        _ratio("redis_view", "keeper", "limit"),
        at_least=0.6,
    ),
    Target(
        "redis_uvloop",
        "the same, gthread with uvloop / limit",
        _ratio("redis_view", "uvloop_keeper", "limit"),
        at_least=0.75,
    ),
    Target(
        "redis_cpu",
        "three Redis GETs beside two CPU-bound requests, LoopThreadWorker / limit, median",
        _ratio("redis_cpu", "resident", "limit"),
        at_most=1.1,
    ),
    Target(
        "middleware",
        "time added by the middleware / limit",
        added_by_middleware,
        at_most=0.3,
    ),
    Target(
        "timeout_keeper",
        "a Flask async def view, with timeout= / without, loop on its own thread",
        _ratio("timeout", "keeper_timeout", "keeper"),
        at_most=1.05,
    ),
    Target(
        "timeout_resident",
        "the same, loop on the worker",
        _ratio("timeout", "resident_timeout", "resident"),
        at_most=1.05,
    ),
    Target(
        "iterate",
        "loop on the worker: iterate() / limit, 10,000 items",
        _ratio("stream", "resident", "limit"),
        at_most=1,
    ),
    Target(
        "prefetch",
        "loop on its own thread: iterate(prefetch=16) / limit",
        _ratio("stream", "keeper_prefetch", "limit"),
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
        "requests",
        "our Flask view / Flask async def view, requests per second",
        _ratio("requests", "keeper", "flask_async"),
        at_least=2,
    ),
    Target(
        "flask_keeper",
        "Flask async def view, with / without the integration, requests per second",
        _ratio("flask", "keeper", "own"),
        at_least=2,
    ),
    Target(
        "flask_resident",
        "the same with LoopThreadWorker",
        _ratio("flask", "resident", "own"),
        at_least=2,
    ),
    Target(
        "watched_keeper",
        "the same view, watchdog and metrics on / off, requests per second",
        _ratio("watched", "keeper_watched", "keeper"),
        at_least=0.98,
    ),
    Target(
        "watched_resident",
        "the same with LoopThreadWorker",
        _ratio("watched", "resident_watched", "resident"),
        at_least=0.98,
    ),
    Target(
        "django_keeper",
        "Django async view, a query and 3 concurrent awaits, with / without, requests per second",
        _ratio("django", "keeper", "own"),
        at_least=1.4,
    ),
    Target(
        "django_resident",
        "the same with LoopThreadWorker",
        _ratio("django", "resident", "own"),
        at_least=1.6,
    ),
    Target(
        "upstream",
        "5 HTTP calls: client kept / client per request, requests per second",
        _ratio("upstream", "ours", "asyncio_run"),
        at_least=3,
    ),
    Target(
        "celery",
        "Celery, one HTTP call: client kept / asyncio.run and a client per task, tasks per second",
        _ratio("celery", "ours", "asyncio_run"),
        at_least=1.5,
    ),
    Target(
        "events",
        "a Server-Sent Event from its making to its arrival, median",
        _median("events", "iterate"),
        at_most=5,
        unit="ms",
    ),
    Target(
        "mount_resident",
        "an ASGI app called through WSGI, loop on the worker: a2wsgi / AsgiMount",
        _ratio("mount", "a2wsgi", "resident"),
        at_least=2,
    ),
    Target(
        "mount_keeper",
        "the same, loop on its own thread",
        _ratio("mount", "a2wsgi", "keeper"),
        at_least=1.5,
    ),
    Target(
        "mount_requests",
        "the same through gunicorn, LoopThreadWorker: AsgiMount / a2wsgi, requests per second",
        _ratio("mount_requests", "resident", "a2wsgi"),
        at_least=2,
    ),
    Target(
        "mount_first",
        "first byte of its stream through gunicorn, loop on its own thread: AsgiMount / a2wsgi",
        _ratio("mount_first", "keeper", "a2wsgi"),
        at_most=1,
    ),
    Target(
        "mount_first_resident",
        "the same with LoopThreadWorker",
        _ratio("mount_first", "resident", "a2wsgi"),
        at_most=1,
    ),
    Target(
        "endpoints",
        "a sync FastAPI endpoint: run() / anyio.from_thread.run, requests per second",
        _ratio("endpoints", "ours", "anyio"),
        at_least=1,
    ),
    Target(
        "first",
        "waitress, first request of each thread: reuse on / off",
        _ratio("first", "on", "off"),
        at_most=1.3,
    ),
    Target(
        "descriptors",
        "a manager at rest: file descriptors",
        _median("rest", "descriptors"),
        at_most=4,
    ),
    Target(
        "memory",
        "a manager at rest: memory",
        _median("rest", "memory_used"),
        at_most=60,
        unit="KiB",
    ),
    Target(
        "keeper_threads",
        "8 managers at rest, loops on their own threads: threads",
        _median("rest", "keeper_threads"),
        at_most=8,
    ),
    Target(
        "keeper_cpu",
        "the same: share of one core",
        _median("rest", "keeper_cpu"),
        at_most=0.01,
        unit="%",
    ),
    Target(
        "watched_cpu",
        "the same, with the watchdog and the metrics: share of one core",
        _median("rest", "watched_cpu"),
        at_most=0.5,
        unit="%",
    ),
    Target(
        "resident_threads_at_rest",
        "8 managers at rest, loops on worker threads: threads beside these",
        _median("rest", "resident_threads"),
        at_most=0,
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
