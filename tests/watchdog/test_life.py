"""How a watchdog is started and stopped, and what it does in forked children and to your log."""

from __future__ import annotations

import logging
import os
import threading
from typing import Any

import pytest

from tests.core.forking import in_child
from tests.core.support import LIMIT, ended, in_process, our_log, reached
from tests.watchdog.parts import BLOCKED_AFTER, Reports, asleep, looked
from wsgi_async import AsyncioLoopManager
from wsgi_async.insight import sampler
from wsgi_async.insight.progress import Watched
from wsgi_async.insight.sampler import live_runners
from wsgi_async.watchdog import Report, start_watchdog


def samplers() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "wsgi_async sampler"]


async def nothing() -> None:
    pass


async def blocks(until: threading.Event, began: threading.Event | None = None) -> None:
    if began is not None:
        began.set()
    until.wait(LIMIT)


def block(manager: AsyncioLoopManager, reports: Reports, count: int = 1) -> None:
    """Block a loop until that is reported."""
    until = threading.Event()
    future = manager.submit_task(blocks(until))
    reports.wait("loop_blocked", count, by="blocks")
    until.set()
    future.result(LIMIT)


def test_its_thread_is_there_while_managers_are(reports: Reports) -> None:
    """The thread exists only while a manager runs, so a server's master process can fork."""
    assert samplers() == []
    with AsyncioLoopManager():
        (thread,) = samplers()
        looked()
    ended(thread)
    with AsyncioLoopManager() as manager:
        block(manager, reports)


def test_several_watchdogs_share_a_thread(reports: Reports) -> None:
    """Each of two watchdogs gets its reports from the one thread."""
    others = Reports()
    with AsyncioLoopManager() as manager:
        other = start_watchdog(BLOCKED_AFTER, on_report=others)
        assert len(samplers()) == 1
        until = threading.Event()
        future = manager.submit_task(blocks(until))
        reports.wait("loop_blocked", by="blocks")
        others.wait("loop_blocked", by="blocks")
        until.set()
        future.result(LIMIT)
        other.stop()


def test_a_stopped_watchdog_reports_nothing(reports: Reports) -> None:
    """After stop() come no reports, and the thread ends with the last watchdog."""
    mine = Reports()
    watchdog = start_watchdog(BLOCKED_AFTER, on_report=mine)
    watchdog.stop()
    with AsyncioLoopManager() as manager:
        block(manager, reports)
    assert mine.all == []


def test_on_report_that_raises(reports: Reports, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the next report comes."""

    def fail(report: Report) -> None:
        raise LookupError("no network")

    watchdog = start_watchdog(BLOCKED_AFTER, on_report=fail)
    with AsyncioLoopManager() as manager:
        block(manager, reports)
        block(manager, reports, 2)
        looked()
    watchdog.stop()
    assert our_log(caplog, logging.ERROR).count("on_report failed") >= 2
    assert "no network" in caplog.text


def test_a_handler_that_raises(reports: Reports, capsys: pytest.CaptureFixture[str]) -> None:
    """Logging that fails does not end the watchdog."""

    class Broken(logging.Handler):
        def handle(self, record: logging.LogRecord) -> bool:
            raise OSError("disk full")

    logger, handler = logging.getLogger("wsgi_async.watchdog"), Broken()
    logger.addHandler(handler)
    try:
        with AsyncioLoopManager() as manager:
            block(manager, reports)
            block(manager, reports, 2)
            looked()
    finally:
        logger.removeHandler(handler)
    assert "disk full" in capsys.readouterr().err


def test_a_look_that_fails(
    reports: Reports, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loop of another make that raises when it is looked at does not end the watchdog."""
    failed = threading.Event()

    def fail(self: Watched, now: float) -> None:
        failed.set()
        raise LookupError("another make")

    with monkeypatch.context() as patch, AsyncioLoopManager():
        patch.setattr(Watched, "look", fail)
        reached(failed)
    with AsyncioLoopManager() as manager:
        block(manager, reports)
    assert "a look at the event loops failed" in our_log(caplog, logging.ERROR)


def test_a_watcher_that_fails(reports: Reports, caplog: pytest.LogCaptureFixture) -> None:
    """What raises at a look is logged, and the others are shown the loops all the same."""

    class Broken:
        def look(self, now: float, loops: list[Watched]) -> None:
            raise LookupError("no screen")

        def forget(self) -> None:
            pass

    broken = Broken()
    sampler.add(broken)
    try:
        with AsyncioLoopManager() as manager:
            block(manager, reports)
    finally:
        sampler.remove(broken)
    assert f"{broken!r} failed" in our_log(caplog, logging.ERROR)


def test_no_thread_can_be_started(
    reports: Reports, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A manager works without being watched, the log tells it, and the next one is watched."""

    def fail(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(sampler, "start_thread", fail)
        with AsyncioLoopManager() as manager:
            manager.run(nothing())
    assert our_log(caplog) == ["no thread to watch the loops"]
    with AsyncioLoopManager() as manager:
        block(manager, reports)


def test_a_fork_that_ran_no_hook(reports: Reports, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a child that was forked in C, the sampler forgets what its parent had, and looks anew."""
    monkeypatch.setattr(sampler._sampler, "_pid", 0)
    monkeypatch.setattr(sampler._sampler, "_thread", threading.Thread())  # the parent's
    with AsyncioLoopManager() as manager:
        assert len(samplers()) == 1
        block(manager, reports)
    (thread,) = samplers()
    ended(thread)


def test_the_level_of_the_reports(caplog: pytest.LogCaptureFixture) -> None:
    """They are logged as the level says that you give."""
    reports = Reports()
    watchdog = start_watchdog(BLOCKED_AFTER, level=logging.CRITICAL, on_report=reports)
    with AsyncioLoopManager() as manager:
        block(manager, reports)
        reports.wait("turning_again")
    watchdog.stop()
    assert "CRITICAL" in {one.levelname for one in caplog.records}


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"blocked_after": "1"}, TypeError),
        ({"blocked_after": True}, TypeError),
        ({"blocked_after": 0}, ValueError),
        ({"run_longer_than": float("inf")}, ValueError),
        ({"run_longer_than": "1"}, TypeError),
    ],
)
def test_times_that_are_none(options: dict[str, Any], error: type[Exception]) -> None:
    """What is not a number of seconds is refused by its name."""
    with pytest.raises(error, match=f"{next(iter(options))} is "):
        start_watchdog(**options)


def test_a_process_that_stood_still_is_not_a_loop_that_did() -> None:
    """When the whole process was stopped for a while, that time does not count."""
    until, began = threading.Event(), threading.Event()
    with AsyncioLoopManager() as manager:
        future = manager.submit_task(blocks(until, began))
        reached(began)
        (runner,) = [each for each in live_runners() if each.live.jobs]
        watched = Watched(runner)
        watched.look(1.0)
        assert watched.since == 1.0
        watched.forgive(10.0)
        watched.look(11.5)
        assert watched.since == 11.0
        until.set()
        future.result(LIMIT)


class Seen:
    """Keeps what it was shown."""

    def look(self, now: float, loops: list[Watched]) -> None:
        self.loops = loops

    def forget(self) -> None:
        pass


def test_a_look_that_comes_late() -> None:
    """The sampler notices that the process stood still, and holds it against no loop."""
    until, began, seen = threading.Event(), threading.Event(), Seen()
    with AsyncioLoopManager() as manager, AsyncioLoopManager("idle") as idle:
        asleep(idle)
        future = manager.submit_task(blocks(until, began))
        reached(began)
        looking = sampler._Sampler()
        looking.watchers = (seen,)
        assert looking._look(1.0, 0.0)
        first = [each.since for each in seen.loops]
        assert looking._look(11.0, 10.0)
        second = [each.since for each in seen.loops]
        until.set()
        future.result(LIMIT)
    assert sorted(first, key=str) == [1.0, None]
    assert sorted(second, key=str) == [11.0, None]


def child_forks() -> None:
    """Parent and child each report what happens in their own process."""
    reports = Reports()
    start_watchdog(BLOCKED_AFTER, on_report=reports)
    logging.getLogger("wsgi_async").setLevel(logging.CRITICAL)
    until = threading.Event()
    manager = AsyncioLoopManager()
    manager.start()
    future = manager.submit_task(blocks(until))
    reports.wait("loop_blocked", by="blocks")

    def child() -> None:
        assert samplers() == []
        reports.all.clear()
        with AsyncioLoopManager("child") as own:
            assert len(samplers()) == 1
            block(own, reports)
            assert "id='child'" in reports.all[0].manager
            reports.wait("turning_again")
            assert len(reports.all) == 2

    in_child(child)
    until.set()
    future.result(LIMIT)
    reports.wait("turning_again")
    block(manager, reports, 2)
    manager.stop()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_forked_child_has_its_own() -> None:
    """A child that starts a manager is watched too, by a thread of its own."""
    in_process(child_forks)
