"""Loops that a coroutine blocks, and worker threads that do not come to their loops."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from typing import TYPE_CHECKING
from wsgiref.util import setup_testing_defaults

import pytest

from tests.core.support import LIMIT, Worker
from tests.watchdog.parts import BLOCKED_AFTER, Reports, functions, looked
from wsgi_async import (
    AsyncioLoopManager,
    AsyncLoopMiddleware,
    LoopThreadPoolExecutor,
    current_manager,
    loop_from,
    run_in_calling_thread,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from wsgiref.types import StartResponse, WSGIEnvironment


async def blocks(until: threading.Event, secret: str = "") -> None:
    until.wait(LIMIT)


@pytest.mark.parametrize("loop", ["ours", "asyncio", "uvloop"])
def test_a_blocked_loop(reports: Reports, loop: str) -> None:
    """A coroutine that blocks its loop is reported, with its name and the line where it is."""
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if loop == "asyncio":
        factory = asyncio.SelectorEventLoop
    elif loop == "uvloop":
        factory = pytest.importorskip("uvloop", reason="uvloop is not installed").new_event_loop
    until = threading.Event()
    with AsyncioLoopManager("it", loop_factory=factory) as manager:
        future = manager.submit_task(blocks(until, "a secret"))
        report = reports.wait("loop_blocked", by="blocks")
        until.set()
        future.result(LIMIT)
    assert report.coroutine == "blocks"
    assert report.thread == "wsgi_async keeper 'it'"
    assert "AsyncioLoopManager id='it'" in report.manager
    assert report.seconds >= BLOCKED_AFTER
    assert functions(report.stack)[:2] == ["blocks", "wait"]
    assert "has been blocked for 0.1 s by blocks" in report.text
    assert "until.wait(LIMIT)" in report.text
    assert "a secret" not in repr(report)


def test_it_is_reported_once_and_again_when_it_is_over(
    reports: Reports, caplog: pytest.LogCaptureFixture
) -> None:
    """However long it lasts, there are two reports: one of the block, one of its length."""
    caplog.set_level(logging.INFO, "wsgi_async.watchdog")
    until = threading.Event()
    with AsyncioLoopManager() as manager:
        future = manager.submit_task(blocks(until))
        reports.wait("loop_blocked", by="blocks")
        looked()
        until.set()
        future.result(LIMIT)
        over = reports.wait("turning_again")
        looked()
    assert [each.kind for each in reports.all] == ["loop_blocked", "turning_again"]
    assert over.coroutine == "blocks"
    assert over.seconds >= 2 * BLOCKED_AFTER
    ours = [one for one in caplog.records if one.name == "wsgi_async.watchdog"]
    assert [one.levelname for one in ours] == ["WARNING", "INFO"]


def test_two_blocks_are_two_incidents(reports: Reports) -> None:
    """A loop that has turned in between is reported anew."""
    with AsyncioLoopManager() as manager:
        for count in (1, 2):
            until = threading.Event()
            future = manager.submit_task(blocks(until))
            reports.wait("loop_blocked", count, by="blocks")
            until.set()
            future.result(LIMIT)


def test_a_loop_that_is_stopped_while_it_is_blocked(reports: Reports) -> None:
    """The end of the loop is the end of the incident."""
    until = threading.Event()
    manager = AsyncioLoopManager()
    manager.start()
    manager.submit_task(blocks(until)).add_done_callback(lambda _: None)
    reports.wait("loop_blocked", by="blocks")
    until.set()
    manager.stop()
    assert reports.wait("turning_again").coroutine == "blocks"


def test_a_callback_that_blocks(reports: Reports) -> None:
    """What is no coroutine has no name, but a line."""
    until = threading.Event()

    def callback() -> None:
        until.wait(LIMIT)

    with AsyncioLoopManager() as manager:
        manager.get_event_loop().call_soon_threadsafe(callback)
        report = reports.wait("loop_blocked")
        until.set()
    assert report.coroutine == "a callback"
    assert functions(report.stack)[0] == "callback"


def test_the_task_of_a_coroutine_is_named_after_it(reports: Reports) -> None:
    """A task that a coroutine has made is reported by its own name."""
    until = threading.Event()

    async def parent() -> None:
        await asyncio.create_task(blocks(until))

    with AsyncioLoopManager() as manager:
        future = manager.submit_task(parent())
        reports.wait("loop_blocked", by="blocks")
        until.set()
        future.result(LIMIT)


def test_the_request_is_named(reports: Reports) -> None:
    """A coroutine that blocks for a request is reported with its method and path."""
    until = threading.Event()

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        loop_from(environ).submit_task(blocks(until)).result(LIMIT)
        start_response("200 OK", [])
        return []

    def request() -> None:
        environ: WSGIEnvironment = {"PATH_INFO": "/report", "QUERY_STRING": "token=secret"}
        setup_testing_defaults(environ)
        list(AsyncLoopMiddleware(app)(environ, lambda *_: bytes))

    thread = threading.Thread(target=request)
    thread.start()
    report = reports.wait("loop_blocked", by="blocks")
    until.set()
    thread.join(LIMIT)
    assert (report.coroutine, report.request) == ("blocks", "GET /report")
    assert "by blocks (GET /report)" in report.text
    assert "secret" not in repr(report)


def test_a_loop_that_turns_or_sleeps_is_not_reported(reports: Reports) -> None:
    """Neither much work nor none is a block."""

    async def busy(until: threading.Event) -> None:
        while not until.is_set():
            await asyncio.sleep(0)

    until = threading.Event()
    with AsyncioLoopManager() as idle, AsyncioLoopManager() as working:
        future = working.submit_task(busy(until))
        waiting = idle.submit_task(asyncio.sleep(60))
        looked()
        until.set()
        future.result(LIMIT)
        waiting.cancel()
    assert reports.all == []


def test_it_is_reported_in_time() -> None:
    """A report comes within 100 ms after `blocked_after`, on a machine that has time for it."""
    from wsgi_async.watchdog import Report, start_watchdog

    delays: list[float] = []
    until = threading.Event()
    began = 0.0

    def take(report: Report) -> None:
        if report.kind == "loop_blocked":
            delays.append(time.monotonic() - began)
            until.set()

    async def begin() -> None:
        nonlocal began
        began = time.monotonic()
        until.wait(LIMIT)

    watchdog = start_watchdog(BLOCKED_AFTER, on_report=take)
    with AsyncioLoopManager() as manager:
        for _ in range(10):
            until.clear()
            manager.run(begin(), timeout=LIMIT)
    watchdog.stop()
    assert BLOCKED_AFTER <= min(delays) <= BLOCKED_AFTER + 0.1


def test_a_loop_that_somebody_else_runs(reports: Reports) -> None:
    """A manager on an ASGI server's loop is watched while something of it is in flight."""
    until = threading.Event()

    async def main() -> None:
        manager = AsyncioLoopManager()
        await manager.start_on_running_loop()
        future = manager.submit_task(asyncio.sleep(60))
        await asyncio.sleep(0)
        until.wait(LIMIT)
        future.cancel()
        await asyncio.to_thread(manager.stop)

    with Worker("server") as worker:
        served = worker.begin(asyncio.run, main())
        name = "test_a_loop_that_somebody_else_runs.<locals>.main"
        report = reports.wait("loop_blocked", by=name)
        until.set()
        served.result(LIMIT)
    assert report.thread == "server"
    assert functions(report.stack)[0] == "main"


# -- worker threads with a loop ------------------------------------------------------------------


def test_a_view_that_computes_while_tasks_wait(reports: Reports) -> None:
    """A worker thread that does not come to its loop is reported, with the tasks and its stack."""

    def view() -> None:
        manager = current_manager()
        manager.submit_task(asyncio.sleep(0.001))
        manager.run(asyncio.sleep(0))
        manager.submit_task(asyncio.sleep(0))
        reports.wait("tasks_standing")

    with LoopThreadPoolExecutor(1, "worker") as pool:
        pool.submit(view).result(LIMIT)
        over = reports.wait("turning_again")
    report = reports.wait("tasks_standing")
    assert report.thread == "worker_0"
    assert "sleep" in (report.coroutine or "")
    assert "view" in functions(report.stack)
    assert "has not come to its event loop for 0.1 s" in report.text
    assert "a worker thread that did something else" in over.text


def test_a_view_that_computes_and_has_no_tasks(reports: Reports) -> None:
    """Without tasks nothing stands still."""

    def view() -> None:
        current_manager().run(asyncio.sleep(0))
        looked()

    with LoopThreadPoolExecutor(1) as pool:
        pool.submit(view).result(LIMIT)
    assert reports.all == []


def test_a_function_that_a_coroutine_has_asked_for(reports: Reports) -> None:
    """A coroutine that has its caller run something long is not held up by that."""

    async def asks() -> None:
        await run_in_calling_thread(looked)

    def view() -> None:
        current_manager().run(asks())

    with LoopThreadPoolExecutor(1) as pool:
        pool.submit(view).result(LIMIT)
    assert reports.all == []


def test_a_coroutine_that_blocks_a_worker_thread(reports: Reports) -> None:
    """In its loop a worker thread is blocked as any other."""
    until = threading.Event()

    def view() -> None:
        current_manager().run(blocks(until))

    with LoopThreadPoolExecutor(1, "worker") as pool:
        future = pool.submit(view)
        report = reports.wait("loop_blocked", by="blocks")
        until.set()
        future.result(LIMIT)
    assert (report.coroutine, report.thread) == ("blocks", "worker_0")
