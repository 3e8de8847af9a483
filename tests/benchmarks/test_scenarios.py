"""Each scenario of the benchmark measures what it says, with a handful of calls."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from benchmarks import (
    calls,
    contenders,
    converting,
    events,
    failures,
    requests,
    resource,
    streams,
    threads,
    upstream,
    upstream_server,
    views,
    who_steps,
)
from benchmarks.contenders import Contender
from benchmarks.effort import QUICK, Effort
from benchmarks.middleware import middleware
from benchmarks.neighbours import cpu_bound_neighbours
from benchmarks.rest import rest
from benchmarks.scenarios import SUBJECTS
from benchmarks.server import get
from benchmarks.timing import Call, Scenario

TINY = Effort(
    rounds=2,
    fast_calls=3,
    slow_calls=1,
    latency_rounds=1,
    latency_fast=2,
    latency_slow=1,
    pauses=1,
    windows=2,
    window=0.01,
    stream_rounds=2,
    stream_items=40,
    awaits=3,
    managers=3,
    idle=0.05,
    request_rounds=1,
    request_seconds=1,
    step_rounds=1,
    step_requests=2,
    event_rounds=1,
    events=3,
)
"""Enough to see that everything is set up, measured and taken down."""

WAYS = {"limit", "run", "submit", "threadsafe", "asyncio_run", "portal", "asgiref"}
IDLE = {"limit_idle", "run_idle", "submit_idle", "threadsafe_idle"}


def check(scenario: Scenario, keys: set[str], values: int | None = None) -> None:
    """Every contender is there, with all its values, and each of them is a time or a rate."""
    assert keys <= set(scenario)
    assert all(value > 0 for series in scenario.values() for value in series.values)
    if values is not None:
        assert {len(series.values) for series in scenario.values()} == {values}


def test_alone() -> None:
    """All ways but asgiref's are measured side by side, those with an idle socket too."""
    check(calls.alone(TINY), (WAYS | IDLE) - {"asgiref"}, values=2)


def test_with_asgiref() -> None:
    """All ways are measured where asgiref is imported."""
    check(calls.with_asgiref(TINY), WAYS, values=2)


def test_neighbours() -> None:
    """Under neighbours each call is a value of its own."""
    scenario = calls.neighbours(TINY)
    check(scenario, WAYS | IDLE)
    assert len(scenario["run"].values) == 2
    assert len(scenario["asgiref"].values) == 1


def test_after_a_pause() -> None:
    """Calls after a pause are measured for the ways whose loop lives on."""
    check(calls.after_a_pause(TINY), {"limit", "run", "submit", "threadsafe"} | IDLE, values=1)


def test_after_work() -> None:
    """The first calls after work are measured for the same ways."""
    check(calls.after_work(TINY), {"limit", "run", "submit", "threadsafe"} | IDLE, values=1)


def test_hop() -> None:
    """A hop is measured beside `run_coroutine_threadsafe`."""
    check(calls.hop(TINY), {"limit", "hop", "threadsafe"}, values=2)


def test_giving_way() -> None:
    """A coroutine that awaits is measured beside the no-op, for the ways whose loop lives on."""
    check(calls.giving_way(TINY), {"limit", "run", "submit", "threadsafe"}, values=2)


@pytest.mark.parametrize("way", contenders.giving_way())
def test_giving_way_runs_the_other_coroutine(
    way: Contender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is called there does await, it is not the no-op under another name."""

    async def fail() -> None:
        raise AssertionError("this is the no-op")

    monkeypatch.setattr(contenders, "noop", fail)
    with way.open() as call:
        call()


def test_uvloop() -> None:
    """The same calls are measured on uvloop, where it is installed."""
    pytest.importorskip("uvloop")
    keys = {"uvloop_limit", "uvloop_run", "uvloop_submit", "uvloop_threadsafe"}
    check(calls.uvloop(TINY), keys, values=2)


@pytest.mark.slow
def test_eight_threads() -> None:
    """Eight threads call at once, in every way."""
    check(threads.eight_threads(TINY), WAYS | IDLE | {"threadsafe_shared"}, values=2)


def test_middleware() -> None:
    """The app is measured with the middleware and without."""
    scenario = middleware(TINY)
    check(scenario, {"limit", "bare", "wrapped"}, values=2)


def test_streams() -> None:
    """The same items go every way, those that are there at once and those that are awaited."""
    for scenario in (streams.stream(TINY), streams.stream_await(TINY)):
        check(scenario, {"limit", "iterate", "prefetch"}, values=2)


@pytest.mark.parametrize("source", [streams.ready, streams.giving_way])
def test_every_item_comes_through(source: streams.Source) -> None:
    """Equal work: each way takes every item; one that lost some would not be timed."""
    with streams.ways() as ways:
        for consume in ways.values():
            assert consume(source(40)) == 40

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
        check(scenario, {"ours", "asgiref"}, values=2)


@pytest.mark.parametrize("way", converting.WAYS.values())
def test_sync_calls_run_on_the_thread_that_waits(
    way: converting.Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equal work: either way each sync call runs, and on the calling worker thread."""
    ran: list[int] = []
    monkeypatch.setattr(converting, "sync_noop", lambda: ran.append(threading.get_ident()))

    @calls.on_a_worker_thread
    def measured(_: Effort) -> Scenario:
        way(converting.sync_calls)(3)
        assert ran == [threading.get_ident()] * 3
        return {}

    measured(TINY)


@pytest.mark.slow
def test_rest() -> None:
    """Managers at rest are measured in a process of their own."""
    scenario = rest(TINY)
    assert scenario["threads"].median == 1
    assert {"idle_cpu", "traced"} <= set(scenario)


@pytest.mark.gunicorn
@pytest.mark.slow
def test_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four views are measured through a real gunicorn, with the client of this package."""
    monkeypatch.setattr("shutil.which", lambda _: None)
    check(requests.requests(TINY), {"plain", "ours", "flask_async", "asyncio_run"}, values=1)


@pytest.mark.gunicorn
@pytest.mark.slow
def test_upstream(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three views that call another server are measured through a real gunicorn."""
    monkeypatch.setattr("shutil.which", lambda _: None)
    check(upstream.http_calls(TINY), {"ours", "asyncio_run", "shared_tls"}, values=1)


@pytest.mark.gunicorn
@pytest.mark.slow
@pytest.mark.parametrize("measure", [views.flask_view, views.django_view])
def test_views(measure: Callable[[Effort], Scenario], monkeypatch: pytest.MonkeyPatch) -> None:
    """The same view is measured with the integration and without, each in its own gunicorn."""
    monkeypatch.setattr("shutil.which", lambda _: None)
    check(measure(TINY), {"ours", "own"}, values=1)


@pytest.mark.gunicorn
@pytest.mark.slow
def test_who_steps() -> None:
    """Each view is timed, stepped by the worker thread and stepped by the keeper."""
    scenario = who_steps.one_by_one(TINY)
    check(scenario, set(who_steps.LABELS), values=2)
    # Who asks for 20 ms gets them: the call and the query are really made.
    assert scenario["both_20_worker"].median >= 20
    assert scenario["slow_2_keeper"].median >= 5


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


def test_every_scenario_has_names_for_its_contenders() -> None:
    """The table shows names that people understand, never bare keys."""
    assert SUBJECTS["requests"].label("ours") == "sync view, loop_from(environ).run"
    assert {"run", "limit", "submit"}.isdisjoint(SUBJECTS["alone"].label(key) for key in WAYS)


@pytest.mark.parametrize("way", [*contenders.everyday(), *contenders.with_idle_socket()])
def test_each_way_really_runs_the_coroutine(
    way: Contender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equal work: one call of any way runs the coroutine exactly once, to its end."""
    ran: list[int] = []

    async def counted() -> None:
        ran.append(threading.get_ident())

    monkeypatch.setattr(contenders, "noop", counted)
    with way.open() as call:
        call()
        assert len(ran) == 1
        call()
        assert len(ran) == 2


def test_scenarios_run_on_a_worker_thread() -> None:
    """What is timed never runs on the main thread, where a manager would not drive its loop."""

    @calls.on_a_worker_thread
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
    def failing() -> Iterator[Call]:
        yield lambda: 1 / 0

    def measure() -> None:
        with threads.crew([Contender("bad", "bad", failing)], 2) as workers:
            workers.window("bad", 0.01)

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
