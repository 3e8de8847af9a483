"""What is counted, as a plain dictionary and for Prometheus."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any
from wsgiref.util import setup_testing_defaults

import pytest

from tests.core.support import LIMIT, Worker, in_process, our_log, reached, wait_until
from tests.watchdog.parts import asleep
from wsgi_async import (
    AsyncioLoopManager,
    LoopThreadPoolExecutor,
    WaitTimeoutError,
    current_manager,
    loop_resource,
)
from wsgi_async.asgi import AsgiMount
from wsgi_async.metrics import Metrics, Numbers, measuring, read, start_metrics
from wsgi_async.metrics.numbers import Event, Totals

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


async def nothing() -> None:
    pass


async def hang() -> None:
    await asyncio.Event().wait()


def sample(metrics: Metrics, metric: str, **labels: str) -> float | None:
    """A value as Prometheus sees it."""
    registry: Any = metrics.made_with[0]
    value: float | None = registry.get_sample_value(metric, labels)
    return value


def counts(numbers: Numbers) -> dict[str, int]:
    return {kind: calls["count"] for kind, calls in numbers["calls"].items()}


def test_calls_are_counted_by_kind(metrics: Metrics) -> None:
    """Each call is counted once, with the seconds that it took."""

    async def items() -> AsyncIterator[int]:
        yield 1
        yield 2

    @asynccontextmanager
    async def context() -> AsyncIterator[None]:
        yield

    with AsyncioLoopManager() as manager:
        manager.run(asyncio.sleep(0.01))
        manager.run(nothing())
        manager.submit_task(nothing()).result(LIMIT)
        assert list(manager.iterate(items())) == [1, 2]
        with manager.wrap_async_context_manager(context()):
            pass
    numbers = metrics.read()
    assert counts(numbers) == {"run": 2, "submit_task": 1, "stream": 3, "context_manager": 2}
    run = numbers["calls"]["run"]
    assert run["seconds"] >= 0.01
    assert run["buckets"]["+Inf"] == 2
    assert run["buckets"]["0.005"] <= 1
    assert sample(metrics, "wsgi_async_call_seconds_count", kind="run") == 2
    assert sample(metrics, "wsgi_async_call_seconds_sum", kind="run") == run["seconds"]


def test_the_parts_of_a_mounted_app_count_as_a_streams(metrics: Metrics) -> None:
    """They are not taken for context managers."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"1", "more_body": True})
        await send({"type": "http.response.body", "body": b"2"})

    environ: dict[str, Any] = {}
    setup_testing_defaults(environ)
    body = AsgiMount(app)(environ, lambda *_: lambda _: None)
    assert b"".join(body) == b"12"
    body.close()  # type: ignore[attr-defined]
    current_manager().stop()
    found = counts(metrics.read())
    assert found["stream"] >= 2
    assert found["context_manager"] == 0


def test_what_is_there_now(metrics: Metrics) -> None:
    """Managers, tasks and resources are counted as long as they are there."""

    @loop_resource
    async def client() -> AsyncIterator[int]:
        yield 1

    async def use() -> int:
        return await client()

    def work() -> Numbers:
        current_manager().run(nothing())
        return metrics.read()

    with AsyncioLoopManager() as manager:
        manager.run(use())
        future = manager.submit_task(hang())
        with LoopThreadPoolExecutor(1) as pool:
            numbers = pool.submit(work).result(LIMIT)
        assert numbers["managers"] == {"keeper": 1, "resident": 1, "guest": 0}
        assert (numbers["tasks_in_flight"], numbers["resources_open"]) == (1, 1)
        # The gauges are written one after the other.
        wait_until(lambda: sample(metrics, "wsgi_async_tasks_in_flight") == 1, "no look")
        wait_until(lambda: sample(metrics, "wsgi_async_managers", runner="keeper") == 1, "no look")
        wait_until(lambda: sample(metrics, "wsgi_async_resources_open") == 1, "no look")
        future.cancel()
    wait_until(lambda: sample(metrics, "wsgi_async_managers", runner="keeper") == 0, "no look")
    numbers = metrics.read()
    assert numbers["managers"] == {"keeper": 0, "resident": 0, "guest": 0}
    assert (numbers["tasks_in_flight"], numbers["resources_open"]) == (0, 0)


def test_tasks_that_a_stop_cuts_off(metrics: Metrics) -> None:
    """They are counted by the names of their coroutines, before stop() returns."""
    manager = AsyncioLoopManager()
    manager.start()
    for _ in range(2):
        manager.submit_task(hang())
    manager.stop()
    assert metrics.read()["tasks_cut_off"] == {"hang": 2}
    assert sample(metrics, "wsgi_async_tasks_cut_off_total", name="hang") == 2


def test_names_without_end(metrics: Metrics) -> None:
    """After a hundred names the others are counted together."""
    for number in range(102):
        metrics.cut_off(f"task {number}")
    names = metrics.read()["tasks_cut_off"]
    assert len(names) == 101
    assert names["(others)"] == 2


def test_timeouts(metrics: Metrics) -> None:
    """A call that is canceled since its time is over is counted; one that ends is not."""
    with AsyncioLoopManager() as manager:
        manager.run(nothing(), timeout=LIMIT)
        with pytest.raises(WaitTimeoutError):
            manager.run(hang(), timeout=0.01)
    assert metrics.read()["timeouts"] == 1
    assert sample(metrics, "wsgi_async_timeouts_total") == 1


def test_wake_ups_that_are_lost(metrics: Metrics, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them is counted."""
    # A question about the loop's lag could wake it just then, and nothing would be lost.
    monkeypatch.setattr(measuring, "_EVERY", math.inf)
    with AsyncioLoopManager(debug=False) as manager:
        loop = manager.get_event_loop()
        # The only look that would ask, before there is any work.
        wait_until(lambda: sample(metrics, "wsgi_async_managers", runner="keeper") == 1, "no look")
        future = manager.submit_task(hang())
        for count in (1, 2):
            event = threading.Event()
            asleep(manager)
            loop.call_soon(partial(loop.call_soon, event.set))
            reached(event)
            assert metrics.read()["lost_wakeups"] == count
        future.cancel()


def test_a_blocked_loop(metrics: Metrics) -> None:
    """The time in which a coroutine blocks its loop is counted while it does, and the lag shows."""
    until, began = threading.Event(), threading.Event()

    async def block() -> None:
        began.set()
        until.wait(LIMIT)

    with AsyncioLoopManager() as manager, Worker() as worker:
        future = worker.begin(manager.run, block())
        reached(began)
        wait_until(lambda: metrics.read()["loop_blocked_seconds"]["coroutine"] > 0.1, "none")
        wait_until(lambda: metrics.read()["loop_lag_seconds"] > 0.1, "no lag")
        assert metrics.read()["loop_blocked_seconds"]["view"] == 0
        until.set()
        future.result(LIMIT)
    assert (sample(metrics, "wsgi_async_loop_blocked_seconds_total", by="coroutine") or 0) > 0.1


def test_a_worker_thread_that_does_something_else(metrics: Metrics) -> None:
    """The time in which tasks wait for a view is counted too, apart."""

    def view() -> None:
        current_manager().submit_task(nothing())
        event, end = threading.Event(), time.monotonic() + LIMIT
        # Not `wait_until()`, which would give the loop turns.
        while metrics.read()["loop_blocked_seconds"]["view"] < 0.1 and time.monotonic() < end:
            event.wait(0.01)
        assert metrics.read()["loop_blocked_seconds"]["view"] >= 0.1

    with LoopThreadPoolExecutor(1) as pool:
        pool.submit(view).result(LIMIT)
    assert metrics.read()["loop_blocked_seconds"]["coroutine"] == 0


def test_a_metric_that_cannot_be_set(
    metrics: Metrics, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Calls and stops go on where prometheus_client fails, on a full disk for example."""

    def fail(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("prometheus_client.Histogram.observe", fail)
    with AsyncioLoopManager() as manager:
        manager.run(nothing())
        manager.run(nothing())
    assert counts(metrics.read())["run"] == 2
    assert len([line for line in our_log(caplog) if "could not be counted" in line]) == 1


# -- how it is started ---------------------------------------------------------------------------


def test_nothing_is_counted_before_the_start() -> None:
    """read() says what to do."""
    with pytest.raises(RuntimeError, match=r"Call start_metrics\(\) first"):
        read()


def test_a_second_start(metrics: Metrics) -> None:
    """With the same arguments it changes nothing; with others it is refused."""
    registry, prefix = metrics.made_with
    assert start_metrics(registry, prefix) is metrics
    with pytest.raises(RuntimeError, match="another registry or prefix"):
        start_metrics(registry, "other")
    with AsyncioLoopManager() as manager:
        manager.run(nothing())
    assert counts(read())["run"] == 1


def test_a_start_after_a_stop() -> None:
    """stop() takes the metrics out of the registry, so that they can be started again."""
    prometheus_client = pytest.importorskip("prometheus_client")
    registry = prometheus_client.CollectorRegistry()
    start_metrics(registry, "a").stop()
    again = start_metrics(registry, "a")
    assert registry.get_sample_value("a_timeouts_total") == 0
    again.stop()
    again.stop()


def child_without_prometheus() -> None:
    """Stands for a process in which prometheus_client is not installed."""
    import sys

    sys.modules["prometheus_client"] = None  # type: ignore[assignment]
    metrics = start_metrics()
    with AsyncioLoopManager() as manager:
        manager.run(nothing())
    print(counts(read())["run"])
    metrics.stop()


def test_without_prometheus_client() -> None:
    """read() works where prometheus_client is not installed."""
    assert in_process(child_without_prometheus) == "1\n"


def child_reads_while_it_counts() -> None:
    """Stands for a destructor that stops a manager, or reads, in the midst of a count."""
    metrics = start_metrics()
    add = Totals.add

    def interrupted(self: Totals, event: Event) -> Event:
        read()
        return add(self, event)

    Totals.add = interrupted  # type: ignore[method-assign]
    with AsyncioLoopManager() as manager:
        manager.run(nothing())
        manager.run(nothing())
    print(counts(read())["run"])
    metrics.stop()


def test_a_destructor_that_comes_in_between() -> None:
    """A count inside of a count neither hangs nor counts anything twice."""
    assert in_process(child_reads_while_it_counts) == "2\n"
