"""Each scenario of the benchmark measures what it says, with a handful of calls."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from benchmarks import (
    calls,
    contenders,
    converting,
    endpoints,
    events,
    failures,
    first_requests,
    mount,
    redis_calls,
    redis_server,
    requests,
    resource,
    streams,
    threads,
    timeouts,
    timing,
    upstream,
    upstream_server,
    views,
    work,
    workers,
)
from benchmarks.contenders import Contender
from benchmarks.effort import QUICK, Effort
from benchmarks.middleware import middleware
from benchmarks.neighbours import cpu_bound_neighbours
from benchmarks.queues import celery_tasks
from benchmarks.rest import rest
from benchmarks.scenarios import SUBJECTS
from benchmarks.server import get
from benchmarks.timing import Call, Measure, Missing, Scenario
from tests.servers.needed import REDIS, do_without

TINY = Effort(
    rounds=2,
    fast_calls=3,
    slow_calls=1,
    latency_rounds=1,
    latency_fast=2,
    latency_slow=1,
    pauses=1,
    windows=2,
    window=0.1,
    stream_rounds=2,
    stream_items=40,
    awaits=3,
    managers=3,
    idle=0.05,
    request_rounds=1,
    request_seconds=1,
    redis_rounds=2,
    redis_calls=2,
    beside_rounds=1,
    beside_requests=2,
    first_rounds=1,
    event_rounds=1,
    events=3,
    queue_tasks=2,
)
"""Enough to see that everything is set up, measured and taken down."""

LIVING = {"limit", "resident", "keeper", "threadsafe"}
WAYS = LIVING | {"resident_submit", "keeper_submit", "asyncio_run", "portal", "asgiref"}
SERVED = {"limit", "resident", "keeper", "process"}


@pytest.fixture
def redis() -> None:
    """A Redis that can be started; a skip where there is none."""
    if missing := redis_server.missing():
        do_without(missing, REDIS)


@pytest.fixture
def own_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client of this package takes the place of wrk."""
    monkeypatch.setattr(requests, "client", lambda: "http.client threads")


def check(scenario: Scenario, keys: set[str], values: int | None = None) -> None:
    """Every contender is there, with all its values, and each of them is a time or a rate."""
    assert keys <= set(scenario)
    assert all(value > 0 for series in scenario.values() for value in series.values)
    if values is not None:
        assert {len(series.values) for series in scenario.values()} == {values}


def test_alone() -> None:
    """All ways but asgiref's are measured side by side."""
    check(calls.alone(TINY), WAYS - {"asgiref"}, values=2)


def test_beside_a_task() -> None:
    """The ways whose loop lives on are measured beside a task that waits on that loop."""
    check(calls.beside_a_task(TINY), LIVING, values=2)


@pytest.mark.parametrize("way", contenders.living())
def test_the_task_waits_while_calls_are_measured(way: Contender) -> None:
    """The task is on the loop of the calls, it has begun, and it ends when all is taken down."""
    log: list[str] = []

    async def wait_for(over: asyncio.Event) -> None:
        log.append("begun")
        await over.wait()
        log.append("ended")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(work, "_wait_for", wait_for)
        with calls.opened([way], work.beside_task(work.nothing)) as found:
            found[way.key].measured(timing.batch, 2)()
            assert log == ["begun"]
        assert log == ["begun", "ended"]


@pytest.mark.usefixtures("redis")
def test_redis_gets() -> None:
    """A Redis GET is measured in the ways whose loop lives on, alone and beside a task."""
    check(redis_calls.alone(TINY), LIVING, values=2)
    check(redis_calls.beside_a_task(TINY), LIVING, values=2)


def test_a_machine_without_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be measured is left out, with the reason."""
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(Missing, match="redis-server is not installed"):
        redis_calls.alone(TINY)


def test_with_asgiref() -> None:
    """All ways are measured where asgiref is imported."""
    check(calls.with_asgiref(TINY), WAYS, values=2)


def test_neighbours() -> None:
    """Under neighbours each call is a value of its own."""
    scenario = calls.neighbours(TINY)
    check(scenario, WAYS)
    assert len(scenario["resident"].values) == 2
    assert len(scenario["asgiref"].values) == 1


def test_after_a_pause() -> None:
    """Calls after a pause are measured for the ways whose loop lives on."""
    check(calls.after_a_pause(TINY), LIVING, values=1)


def test_uvloop() -> None:
    """The same calls are measured on uvloop, where it is installed."""
    pytest.importorskip("uvloop")
    check(calls.uvloop(TINY), {f"uvloop_{key}" for key in LIVING}, values=2)


@pytest.mark.slow
def test_eight_threads() -> None:
    """Eight threads call at once, in every way."""
    keys = WAYS | {"process", "threadsafe_shared"}
    check(threads.eight_threads(TINY), keys, values=2)


def test_middleware() -> None:
    """The app is measured with the middleware and without."""
    scenario = middleware(TINY)
    check(scenario, {"limit", "bare", "wrapped"}, values=2)


def test_timeout() -> None:
    """Requests with a deadline are measured beside those without."""
    ways = {"keeper", "keeper_timeout", "resident", "resident_timeout"}
    check(timeouts.with_a_timeout(TINY), ways, values=2)


def test_streams() -> None:
    """The same items go every way, those that are there at once and those that are awaited."""
    for scenario in (streams.stream(TINY), streams.stream_await(TINY)):
        keys = {"limit", "resident", "resident_prefetch", "keeper", "keeper_prefetch"}
        check(scenario, keys, values=2)


@pytest.mark.parametrize("source", [streams.ready, streams.giving_way])
def test_every_item_comes_through(source: streams.Source) -> None:
    """Equal work: each way takes every item; one that lost some would not be timed."""
    with streams.ways() as ways:
        for worker in ways.values():
            assert worker.measured(lambda consume: lambda: [consume(source(40))])() == [40]

    def lose(_: object) -> int:
        return 39

    with pytest.raises(RuntimeError, match="39 of 40 items"):
        streams.streamed(lose, source, 40)()


def test_failures() -> None:
    """A coroutine that raises is measured beside one that returns."""
    check(failures.beside_idle_tasks(TINY), {"returns", "raises"}, values=2)


def test_resource() -> None:
    """A resource that is open is measured beside look-ups by hand."""
    check(resource.open_resource(TINY), {"look_up", "by_loop", "resource"}, values=2)


def test_converters() -> None:
    """Our async_to_sync is measured beside asgiref's, and what is called back inside of each."""
    for scenario in (converting.calls_into_async(TINY), converting.calls_back(TINY)):
        check(scenario, {"resident", "keeper", "asgiref"}, values=2)


def test_sync_calls_run_on_the_thread_that_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal work: in each way each sync call runs, and on the calling worker thread."""
    ran: list[int] = []
    monkeypatch.setattr(converting, "sync_noop", lambda: ran.append(threading.get_ident()))

    def called(way: converting.Way) -> Measure:
        def measure() -> Sequence[float]:
            ran.clear()
            way(converting.sync_calls)(3)
            assert ran == [threading.get_ident()] * 3
            return ()

        return measure

    with converting.ways() as ways:
        assert len(ways) == 3
        for worker in ways.values():
            worker.measured(called)()


@pytest.mark.slow
def test_rest() -> None:
    """Managers at rest are measured in processes of their own, those of either kind."""
    scenario = rest(TINY)
    assert scenario["keeper_threads"].median == 8
    assert scenario["resident_threads"].median == 0
    assert {"keeper_cpu", "resident_cpu", "watched_cpu", "traced"} <= set(scenario)


@pytest.mark.gunicorn
@pytest.mark.slow
@pytest.mark.usefixtures("own_client")
def test_requests() -> None:
    """Views are measured through real gunicorns, with the client of this package."""
    check(requests.requests(TINY), set(requests.ROUTES), values=1)


@pytest.mark.gunicorn
@pytest.mark.slow
@pytest.mark.usefixtures("redis", "own_client")
def test_redis_views(monkeypatch: pytest.MonkeyPatch) -> None:
    """A view with ten Redis GETs is measured on servers of each kind."""
    pytest.importorskip("uvloop")
    chosen = ("limit", "resident", "uvloop_process")
    assert set(chosen) | SERVED < set(redis_calls.VIEWS)
    monkeypatch.setattr(redis_calls, "VIEWS", chosen)
    check(redis_calls.ten_gets(TINY), set(chosen), values=1)


@pytest.mark.gunicorn
@pytest.mark.slow
@pytest.mark.usefixtures("redis")
def test_redis_beside_cpu_bound() -> None:
    """Requests with three Redis GETs are timed one by one, beside requests that compute."""
    check(redis_calls.beside_cpu_bound(TINY), SERVED, values=2)


def test_cpu_bound_requests_compute() -> None:
    """What the requests are timed beside does want the interpreter."""
    pytest.importorskip("redis")
    from benchmarks.redis_app import COMPUTING, views

    start = time.thread_time()
    assert views(lambda: "ok").test_client().get("/compute").status_code == 200
    assert time.thread_time() - start >= COMPUTING


@pytest.mark.slow
def test_first_requests() -> None:
    """The first request of each thread of waitress is a value of its own."""
    pytest.importorskip("waitress")
    check(first_requests.first_requests(TINY), {"on", "off"}, values=4)


@pytest.mark.gunicorn
@pytest.mark.slow
@pytest.mark.usefixtures("own_client")
def test_upstream() -> None:
    """Three views that call another server are measured through a real gunicorn."""
    check(upstream.http_calls(TINY), {"ours", "asyncio_run", "shared_tls"}, values=1)


@pytest.mark.slow
@pytest.mark.usefixtures("redis")
def test_celery() -> None:
    """Three tasks that call another server are measured on a real worker."""
    pytest.importorskip("celery")
    check(celery_tasks.http_call(TINY), set(celery_tasks.WAYS), values=1)


@pytest.mark.gunicorn
@pytest.mark.slow
@pytest.mark.usefixtures("own_client")
@pytest.mark.parametrize("measure", [views.flask_view, views.django_view])
def test_views(measure: Callable[[Effort], Scenario]) -> None:
    """The same view is measured with the integration and without, each in its own gunicorn."""
    check(measure(TINY), {"resident", "keeper", "own"}, values=1)


@pytest.mark.gunicorn
@pytest.mark.slow
@pytest.mark.usefixtures("own_client")
def test_watched_views() -> None:
    """The same view is measured with the watchdog and the metrics on, and off."""
    ways = {"resident", "resident_watched", "keeper", "keeper_watched"}
    check(views.watched_view(TINY), ways, values=1)


def test_the_server_that_is_called_answers_each_request() -> None:
    """Every request is answered, and one that asks for a wait gets it."""
    with upstream_server.upstream() as port:
        assert get(port, "/") == get(port, "/1") == "ok"
        start = time.monotonic()
        assert get(port, "/30") == "ok"
        assert time.monotonic() - start >= 0.03


@pytest.mark.gunicorn
def test_events() -> None:
    """The way of each event of each view is a value of its own."""
    check(events.sent_events(TINY), {"plain", "iterate", "prefetch"}, values=3)


def test_a_mounted_app() -> None:
    """Whole requests are measured on each kind of thread, and those of a2wsgi beside them."""
    pytest.importorskip("a2wsgi")
    check(mount.mounted(TINY), {"resident", "keeper", "a2wsgi"}, values=2)


@pytest.mark.gunicorn
@pytest.mark.slow
@pytest.mark.usefixtures("own_client")
@pytest.mark.parametrize(("measure", "values"), [(mount.requests, 1), (mount.first_bytes, 3)])
def test_a_mounted_app_is_served(measure: Callable[[Effort], Scenario], values: int) -> None:
    """The same app is measured in each way, each in its own gunicorn."""
    pytest.importorskip("a2wsgi")
    check(measure(TINY), {"resident", "keeper", "a2wsgi"}, values=values)


@pytest.mark.slow
@pytest.mark.usefixtures("own_client")
def test_endpoints() -> None:
    """A sync endpoint is measured with each way to call a coroutine, each in its own uvicorn."""
    pytest.importorskip("fastapi")
    check(endpoints.requests(TINY), set(endpoints.WAYS), values=1)


def test_every_scenario_has_names_for_its_contenders() -> None:
    """The table shows names that people understand, never bare keys."""
    assert SUBJECTS["requests"].label("keeper") == "sync view, loop_from(environ).run"
    assert WAYS.isdisjoint(SUBJECTS["alone"].label(key) for key in WAYS)


@pytest.mark.parametrize("way", [*contenders.everyday(), *contenders.on_uvloop()])
def test_each_way_really_runs_the_coroutine(
    way: Contender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equal work: one call of any way runs the coroutine exactly once, to its end."""
    ran: list[int] = []

    async def counted() -> None:
        ran.append(threading.get_ident())

    monkeypatch.setattr(contenders, "noop", counted)
    monkeypatch.setattr(work, "noop", counted)

    def called(call: Call) -> Measure:
        def measure() -> Sequence[float]:
            call()
            assert len(ran) == 1
            call()
            assert len(ran) == 2
            return [threading.get_ident()]

        return measure

    with calls.opened([way]) as found:
        (worker,) = found[way.key].measured(called)()
    on_the_worker = way.resident or "limit" in way.key or way.key == "asyncio_run"
    assert [ident == worker for ident in ran] == [on_the_worker] * 2


def test_scenarios_run_on_a_worker_thread() -> None:
    """What is timed never runs on the main thread, but as in a server."""

    @workers.on_a_worker_thread
    def where(_: Effort) -> Scenario:
        assert threading.current_thread() is not threading.main_thread()
        return {}

    assert where(TINY) == {}


def test_neighbours_spin_and_end() -> None:
    """Neighbours are there while it is measured, and gone afterwards."""
    before = threading.active_count()
    with cpu_bound_neighbours(2):
        assert threading.active_count() == before + 2
    assert threading.active_count() == before


def test_a_failing_call_ends_the_crew() -> None:
    """A way that fails in one of many threads stops the benchmark with its error, not a hang."""

    @contextmanager
    def failing(_: work.Setting) -> Iterator[Call]:
        yield lambda: 1 / 0

    def measure() -> None:
        with threads.crew(Contender("bad", "bad", failing), 2) as crew:
            crew.window(0.01)

    # In a thread, so that the limit on a hang is not lost in the error that follows it.
    with ThreadPoolExecutor(1) as pool, pytest.raises(ZeroDivisionError):
        pool.submit(measure).result(20)


def test_output_of_wrk_is_read() -> None:
    """The figure that wrk prints is taken over; a run with failed requests is not."""
    good = "  123 requests in 1.00s\nRequests/sec:   1234.56\nTransfer/sec: 1KB\n"
    assert requests.per_second(good) == 1234.56
    with pytest.raises(RuntimeError, match="Some requests failed"):
        requests.per_second(good + "  Non-2xx or 3xx responses: 3\n")
    with pytest.raises(RuntimeError, match="did not say"):
        requests.per_second("unable to connect")


def test_efforts_differ_in_every_measured_amount() -> None:
    """`--quick` asks for less in nearly every respect, and for nothing at all in none."""
    assert all(value > 0 for value in dataclasses.asdict(QUICK).values())
