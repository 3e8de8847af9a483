"""Clocks that stand still: tests freeze them, and waits with a limit end all the same."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.core.support import BEGIN, Endless, Stubborn, give, reached, run_process, say
from tests.edges.parts import PLACES, QUICK, calling_from
from tests.middleware.wsgi import serve
from wsgi_async import AsyncLoopMiddleware, loop_from, scope_from

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from wsgiref.types import StartResponse, WSGIEnvironment

    from tests.edges.parts import Call
    from wsgi_async import AsyncioLoopManager


@contextmanager
def freezegun() -> Iterator[None]:
    """As most test suites do it."""
    from freezegun import freeze_time

    with freeze_time("2026-01-01"):
        yield


@contextmanager
def by_hand() -> Iterator[None]:
    """As a test suite does it that replaces what it knows to be called."""
    names = ("time", "monotonic", "perf_counter", "time_ns", "monotonic_ns", "perf_counter_ns")
    real = {name: getattr(time, name) for name in names}
    for name, clock in real.items():
        stands_at = clock()
        setattr(time, name, lambda now=stands_at: now)
    try:
        yield
    finally:
        for name, clock in real.items():
            setattr(time, name, clock)


FREEZERS = {"freezegun": freezegun, "by hand": by_hand}


def late(wait: Callable[[], Any]) -> None:
    with pytest.raises(TimeoutError):
        wait()


def run(manager: AsyncioLoopManager) -> None:
    late(lambda: manager.run(Endless().wait(), timeout=QUICK))


def result(manager: AsyncioLoopManager) -> None:
    future = manager.submit_task(Endless().wait())
    late(lambda: future.result(QUICK))
    late(lambda: future.exception(QUICK))
    future.cancel()


def sync_result(manager: AsyncioLoopManager) -> None:
    future = manager.submit_task(Endless().wait(), return_sync_future=True)
    late(lambda: future.result(QUICK))
    late(lambda: future.exception(QUICK))
    assert not future.wait(QUICK)
    future.cancel()


def scope(_: AsyncioLoopManager) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        scope_from(environ).timeout(QUICK)
        late(lambda: loop_from(environ).run(Endless().wait()))
        late(lambda: loop_from(environ).run(give(1)))  # it is over for all that follows
        start_response("200 OK", [])
        return [b"ok"]

    assert serve(AsyncLoopMiddleware(app)) == b"ok"


def stop(manager: AsyncioLoopManager) -> None:
    stubborn = Stubborn()
    manager.submit_task(stubborn.wait())
    reached(stubborn.began)
    manager.stop(0.5)
    assert manager.state == "stopped"


def grace(manager: AsyncioLoopManager) -> None:
    stubborn = Stubborn()
    late(lambda: manager.run(stubborn.wait(), timeout=BEGIN))
    stubborn.release()


WAITS = {one.__name__: one for one in (run, result, sync_result, scope, stop, grace)}
"""What waits for something that does not come, and has a limit."""


def child(name: str, freezer: str, place: str, begin: str) -> None:
    """Wait in vain while the clocks stand still, then use the manager once they go again."""

    def wait(call: Call) -> None:
        call(WAITS[name], call.manager)
        say("late")

    if begin == "before":
        with FREEZERS[freezer](), calling_from(place, grace=QUICK) as call:
            wait(call)
        return
    with calling_from(place, grace=QUICK) as call:
        assert call(call.manager.run, give(1)) == 1
        with FREEZERS[freezer]():
            wait(call)
        if name != "stop":
            assert call(call.manager.run, give(1)) == 1


@pytest.mark.parametrize(
    ("freezer", "begin"), [("freezegun", "before"), ("freezegun", "after"), ("by hand", "after")]
)
@pytest.mark.parametrize("place", PLACES[:2])
@pytest.mark.parametrize("name", WAITS)
def test_limits_hold_while_clocks_stand_still(
    name: str, freezer: str, place: str, begin: str
) -> None:
    """A timeout passes although the clocks were frozen before or after the manager's start."""
    if freezer == "freezegun":
        pytest.importorskip("freezegun")
    out, err, status = run_process(child, name, freezer, place, begin, limit=10)
    assert (out, status) == ("late\n", 0), err
