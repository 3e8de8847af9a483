"""What can be measured, in the order in which it is measured, and its names for people."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks import calls, contenders, converting, streams, who_steps
from benchmarks.effort import Effort
from benchmarks.events import sent_events
from benchmarks.failures import TASKS, beside_idle_tasks
from benchmarks.middleware import middleware
from benchmarks.requests import requests
from benchmarks.resource import open_resource
from benchmarks.rest import rest
from benchmarks.threads import WORKERS, eight_threads
from benchmarks.timing import Scenario
from benchmarks.upstream import http_calls
from benchmarks.views import django_view, flask_view


@dataclass(frozen=True)
class Subject:
    """One scenario: how it is measured and what it is called.

    Args:
        title: its name for people, with the unit.
        measure: measures all its contenders side by side.
        baseline: the contender that the table compares the others with; none for rest.
        labels: names for contenders that `LABELS` does not have, or that mean something else here.
        served: whether gunicorn is needed.
    """

    title: str
    measure: Callable[[Effort], Scenario]
    baseline: str | None = "limit"
    labels: dict[str, str] = field(default_factory=dict)
    served: bool = False

    def label(self, key: str) -> str:
        """Return a contender's name for people."""
        return self.labels.get(key) or LABELS.get(key, key)


LABELS = {
    each.key: each.label
    for each in (
        *contenders.everyday(),
        *contenders.with_idle_socket(),
        *contenders.on_uvloop(),
        *contenders.hops(),
    )
}
"""Contender's key: its name for people."""

CONVERTERS = {"ours": "wsgi_async's async_to_sync", "asgiref": "asgiref's async_to_sync"}
"""Ways to make a sync function of an async one: their names for people."""

STREAMS = {
    "limit": "loop.run_until_complete(anext()) (limit)",
    "iterate": "manager.iterate",
    "prefetch": f"manager.iterate, prefetch={streams.AHEAD}",
}
"""Ways to take the items of an async generator: their names for people."""

SUBJECTS = {
    "alone": Subject("one worker thread, alone: us per call", calls.alone),
    "await": Subject("a coroutine that awaits once: us per call", calls.giving_way),
    "uvloop": Subject("the same on uvloop: us per call", calls.uvloop, baseline="uvloop_limit"),
    "hop": Subject("keeper busy with a tracked task: us per call", calls.hop),
    "middleware": Subject(
        "an app that ignores the loop: us per request",
        middleware,
        labels={"bare": "app alone", "wrapped": "app in AsyncLoopMiddleware"},
    ),
    "pause": Subject("each call after a pause: us per call", calls.after_a_pause),
    "work": Subject(
        f"{calls.BURST} calls in a row after other work: us per call", calls.after_work
    ),
    "stream": Subject("items of an async generator: us per item", streams.stream, labels=STREAMS),
    "stream_await": Subject(
        "items that are awaited once: us per item", streams.stream_await, labels=STREAMS
    ),
    "resource": Subject(
        "a loop resource that is open: ns per await",
        open_resource,
        baseline="look_up",
        labels={
            "look_up": "await of a dictionary look-up",
            "by_loop": "await of a dictionary look-up by running loop",
            "resource": "await resource()",
        },
    ),
    "failures": Subject(
        f"run() beside {TASKS:,} idle tasks: us per call",
        beside_idle_tasks,
        baseline="returns",
        labels={"returns": "a coroutine that returns", "raises": "a coroutine that raises"},
    ),
    "with_asgiref": Subject("alone, where asgiref is imported: us per call", calls.with_asgiref),
    "neighbours": Subject("2 CPU-bound neighbours: us per call", calls.neighbours),
    "threads": Subject(
        f"{WORKERS} worker threads: calls per second",
        eight_threads,
        labels={"threadsafe_shared": "run_coroutine_threadsafe().result, one loop for all"},
    ),
    "async_to_sync": Subject(
        "async_to_sync(noop)(): us per call",
        converting.calls_into_async,
        baseline="ours",
        labels=CONVERTERS,
    ),
    "sync_to_async": Subject(
        "await sync_to_async(noop)() inside of it: us per call",
        converting.calls_back,
        baseline="ours",
        labels=CONVERTERS,
    ),
    "rest": Subject(
        "a manager at rest",
        rest,
        baseline=None,
        labels={
            "descriptors": "file descriptors",
            "threads": "threads",
            "memory_started": "memory (PSS), only started",
            "memory_used": "memory (PSS), after use",
            "traced": "of which Python's allocator",
            "idle_cpu": "CPU time of all managers together",
        },
    ),
    "requests": Subject(
        "gunicorn gthread: requests per second",
        requests,
        baseline="plain",
        labels={
            "plain": "sync view, no async code",
            "ours": "sync view, loop_from(environ).run",
            "flask_async": "Flask async def view",
            "asyncio_run": "sync view, asyncio.run",
        },
        served=True,
    ),
    "flask": Subject(
        "gunicorn gthread, a Flask async def view: requests per second",
        flask_view,
        baseline="own",
        labels={"ours": "with AsyncLoop(app)", "own": "Flask's own"},
        served=True,
    ),
    "django": Subject(
        "gunicorn gthread, a Django async view with a query and 3 awaits: requests per second",
        django_view,
        baseline="own",
        labels={"ours": "with our get_wsgi_application", "own": "Django's own"},
        served=True,
    ),
    "who_steps": Subject(
        "gunicorn gthread, who steps a Django view: requests per second",
        who_steps.under_load,
        baseline=None,
        labels=who_steps.LABELS,
        served=True,
    ),
    "who_steps_alone": Subject(
        "the same, one request at a time: ms per request",
        who_steps.one_by_one,
        baseline=None,
        labels=who_steps.LABELS,
        served=True,
    ),
    "upstream": Subject(
        "gunicorn gthread, 5 HTTP calls a view: requests per second",
        http_calls,
        baseline="asyncio_run",
        labels={
            "ours": "loop_from(environ).run, client kept as a loop resource",
            "asyncio_run": "asyncio.run, a client per request",
            "shared_tls": "the same, all clients with one TLS context",
        },
        served=True,
    ),
    "events": Subject(
        "gunicorn gthread, a Server-Sent Event under way: ms",
        sent_events,
        baseline="plain",
        labels={
            "plain": "sync generator, time.sleep",
            "iterate": "manager.iterate",
            "prefetch": "manager.iterate, prefetch=16",
        },
        served=True,
    ),
}
"""Scenario's name: what it is."""
