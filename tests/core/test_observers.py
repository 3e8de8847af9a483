"""Who is told of what happens on the loops cannot disturb them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NoReturn

import pytest

from tests.core.support import Endless, give, our_log, reached
from wsgi_async import AsyncioLoopManager
from wsgi_async.core.jobs import observers

if TYPE_CHECKING:
    from collections.abc import Iterator


class Failing:
    """Raises whatever it is told."""

    def call_done(self, job: object) -> NoReturn:
        raise LookupError("call_done")

    def cut_off(self, name: str) -> NoReturn:
        raise LookupError(f"cut_off {name}")

    def wakeup_lost(self) -> NoReturn:
        raise LookupError("wakeup_lost")

    def stopped(self) -> NoReturn:
        raise LookupError("stopped")


@pytest.fixture(autouse=True)
def _failing() -> Iterator[None]:
    observer = Failing()
    observers.add(observer)
    try:
        yield
    finally:
        observers.remove(observer)


def test_one_that_fails_is_in_nobodys_way(caplog: pytest.LogCaptureFixture) -> None:
    """Calls get their results and a stop comes to its end; the log has each failure."""
    task = Endless()
    with AsyncioLoopManager() as manager:
        assert manager.run(give(1)) == 1
        manager.submit_task(task.wait())
        reached(task.began)
        manager.get_event_loop().call_soon_threadsafe(observers.tell_lost)
        manager.run(asyncio.sleep(0))
    assert manager.state == "stopped"
    log = "\n".join(str(record.exc_info) for record in caplog.records)
    for event in ("call_done", "cut_off ", "wakeup_lost", "stopped"):
        assert event in log
    assert all("an observer of the loops" in line or "cut off" in line for line in our_log(caplog))
