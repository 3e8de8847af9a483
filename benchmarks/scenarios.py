"""What can be measured, in the order in which it is measured, and its names for people."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks import calls, contenders, converting, endpoints, mount, redis_calls, streams
from benchmarks.effort import Effort
from benchmarks.events import sent_events
from benchmarks.failures import TASKS, beside_idle_tasks
from benchmarks.first_requests import first_requests
from benchmarks.middleware import middleware
from benchmarks.queues.celery_tasks import http_call
from benchmarks.requests import requests
from benchmarks.resource import open_resource
from benchmarks.rest import IDLE, rest
from benchmarks.server import THREADS
from benchmarks.threads import WORKERS, eight_threads
from benchmarks.timeouts import with_a_timeout
from benchmarks.timing import Scenario
from benchmarks.upstream import http_calls
from benchmarks.views import django_view, flask_view, watched_view


@dataclass(frozen=True)
class Subject:
    """One scenario: how it is measured and what it is called.

    Args:
        title: its name for people, with the unit.
        measure: measures all its contenders side by side.
        baseline: the contender that the table compares the others with; none for rest.
        labels: names for contenders that `LABELS` does not have, or that mean something else here.
        served: whether it needs a server, gunicorn most often.
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
    **{each.key: each.label for each in (*contenders.everyday(), *contenders.on_uvloop())},
    "process": "manager.run, one manager for all",
    "threadsafe_shared": "run_coroutine_threadsafe().result, one loop for all",
}
"""Contender's key: its name for people."""

CONVERTERS = {
    "resident": "wsgi_async's async_to_sync, loop on the worker",
    "keeper": "wsgi_async's async_to_sync, loop on its own thread",
    "asgiref": "asgiref's async_to_sync",
}
"""Ways to make a sync function of an async one: their names for people."""

STREAMS = {
    "limit": "loop.run_until_complete(anext()) (limit)",
    "resident": "manager.iterate, loop on the worker",
    "resident_prefetch": f"the same, prefetch={streams.AHEAD}",
    "keeper": "manager.iterate, loop on its own thread",
    "keeper_prefetch": f"manager.iterate, loop on its own thread, prefetch={streams.AHEAD}",
}
"""Ways to take the items of an async generator: their names for people."""

SERVED = {
    "limit": "a loop per thread, run_until_complete (limit)",
    "resident": "LoopThreadWorker",
    "keeper": "gthread",
    "process": 'gthread, per="process"',
}
SERVED |= {f"uvloop_{key}": f"uvloop: {label}" for key, label in SERVED.items()}
"""Ways to serve a view that calls async code: their names for people."""

MOUNTS = {
    "resident": "AsgiMount, loop on the worker",
    "keeper": "AsgiMount, loop on its own thread",
    "a2wsgi": "a2wsgi's ASGIMiddleware",
}
"""Ways to serve an ASGI app through WSGI: their names for people."""

SUBJECTS = {
    "alone": Subject("one worker thread, alone: us per call", calls.alone),
    "task": Subject("the same beside a task that waits: us per call", calls.beside_a_task),
    "uvloop": Subject("alone on uvloop: us per call", calls.uvloop, baseline="uvloop_limit"),
    "redis": Subject("a Redis GET: us per call", redis_calls.alone),
    "redis_task": Subject(
        "a Redis GET beside a task that waits: us per call", redis_calls.beside_a_task
    ),
    "middleware": Subject(
        "an app that ignores the loop: us per request",
        middleware,
        labels={"bare": "app alone", "wrapped": "app in AsyncLoopMiddleware"},
    ),
    "timeout": Subject(
        "a Flask async def view in process: us per request",
        with_a_timeout,
        baseline="keeper",
        labels={
            "keeper": "loop on its own thread",
            "keeper_timeout": "the same, timeout=30",
            "resident": "loop on the worker",
            "resident_timeout": "the same, timeout=30",
        },
    ),
    "pause": Subject("each call after a pause: us per call", calls.after_a_pause),
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
    ),
    "async_to_sync": Subject(
        "async_to_sync(noop)(): us per call",
        converting.calls_into_async,
        baseline="keeper",
        labels=CONVERTERS,
    ),
    "sync_to_async": Subject(
        "await sync_to_async(noop)() inside of it: us per call",
        converting.calls_back,
        baseline="keeper",
        labels=CONVERTERS,
    ),
    "mount": Subject(
        "an ASGI app called as a WSGI application: us per request",
        mount.mounted,
        baseline="a2wsgi",
        labels=MOUNTS,
    ),
    "rest": Subject(
        "managers at rest",
        rest,
        baseline=None,
        labels={
            "descriptors": "one: file descriptors",
            "memory_started": "one: memory (PSS), only started",
            "memory_used": "one: memory (PSS), after use",
            "traced": "one: of which Python's allocator",
            "keeper_threads": f"{IDLE} with a thread of their own: threads",
            "keeper_cpu": "the same: CPU time of all together",
            "resident_threads": f"{IDLE} on worker threads: threads beside these",
            "resident_cpu": "the same: CPU time of all together",
            "watched_cpu": f"{IDLE} watched, with metrics: CPU time of all together",
        },
    ),
    "requests": Subject(
        "gunicorn gthread: requests per second",
        requests,
        baseline="plain",
        labels={
            "plain": "sync view, no async code",
            "resident": "sync view, loop_from(environ).run, LoopThreadWorker",
            "keeper": "sync view, loop_from(environ).run",
            "flask_async": "Flask async def view",
            "asyncio_run": "sync view, asyncio.run",
        },
        served=True,
    ),
    "flask": Subject(
        "gunicorn gthread, a Flask async def view: requests per second",
        flask_view,
        baseline="own",
        labels={
            "resident": "with AsyncLoop(app), LoopThreadWorker",
            "keeper": "with AsyncLoop(app)",
            "own": "Flask's own",
        },
        served=True,
    ),
    "watched": Subject(
        "the same with the watchdog and the metrics: requests per second",
        watched_view,
        baseline="keeper",
        labels={
            "resident": "LoopThreadWorker",
            "resident_watched": "the same, watched",
            "keeper": "gthread",
            "keeper_watched": "the same, watched",
        },
        served=True,
    ),
    "django": Subject(
        "gunicorn gthread, a Django async view with a query and 3 awaits: requests per second",
        django_view,
        baseline="own",
        labels={
            "resident": "with our get_wsgi_application, LoopThreadWorker",
            "keeper": "with our get_wsgi_application",
            "own": "Django's own",
        },
        served=True,
    ),
    "redis_view": Subject(
        f"gunicorn, {THREADS} threads, a view with ten Redis GETs: requests per second",
        redis_calls.ten_gets,
        labels=SERVED,
        served=True,
    ),
    "redis_cpu": Subject(
        "the same with three, beside two CPU-bound requests: ms per request",
        redis_calls.beside_cpu_bound,
        labels=SERVED,
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
    "celery": Subject(
        "Celery, a task with one HTTP call: tasks per second",
        http_call,
        baseline="asyncio_run",
        labels={
            "ours": "async task with AsyncLoop(app), client kept as a loop resource",
            "asyncio_run": "sync task, asyncio.run, a client per task",
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
    "mount_requests": Subject(
        f"gunicorn, {THREADS} threads, an ASGI app: requests per second",
        mount.requests,
        baseline="a2wsgi",
        labels=MOUNTS,
        served=True,
    ),
    "mount_first": Subject(
        "the same, the first byte of a stream: ms",
        mount.first_bytes,
        baseline="a2wsgi",
        labels=MOUNTS,
        served=True,
    ),
    "endpoints": Subject(
        "uvicorn, a sync FastAPI endpoint that calls a coroutine: requests per second",
        endpoints.requests,
        baseline="anyio",
        labels={"ours": "wsgi_async.run", "anyio": "anyio.from_thread.run"},
        served=True,
    ),
    "first": Subject(
        "waitress, a Flask async def view, each thread's first request: ms",
        first_requests,
        baseline="off",
        labels={"on": "with reuse", "off": "without"},
        served=True,
    ),
}
"""Scenario's name: what it is."""
