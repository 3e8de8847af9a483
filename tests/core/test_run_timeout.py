"""`run(timeout=...)`: cancellation, its cleanup, and the grace that this has."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.core.support import (
    BEGIN,
    LIMIT,
    Endless,
    Stubborn,
    give,
    on_plain_worker,
    on_worker,
    our_log,
    reached,
    throw,
    wait_until,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.core.conftest import MakeManager
    from wsgi_async import AsyncioLoopManager

    Way = Callable[[AsyncioLoopManager], None]


def alone(manager: AsyncioLoopManager) -> None:
    """Nothing else is on the loop."""


def beside_a_task(manager: AsyncioLoopManager) -> None:
    """The loop has other work in flight."""
    busy = Endless()
    manager.submit_task(busy.wait())
    reached(busy.began)


both = pytest.mark.parametrize("way", [alone, beside_a_task])


@both
@on_worker
def test_cancels_and_waits_for_the_cleanup(make_manager: MakeManager, way: Way) -> None:
    """After the `TimeoutError` the coroutine is over, its `finally` included."""
    manager = make_manager()
    way(manager)
    slow = Endless()
    with pytest.raises(TimeoutError, match=r"Endless\.wait"):
        manager.run(slow.wait(), timeout=BEGIN)
    assert slow.cleaned.is_set()
    assert manager.run(give("goes on")) == "goes on"


@both
@on_worker
def test_a_timeout_that_is_not_reached(make_manager: MakeManager, way: Way) -> None:
    """A call that ends in time is not touched, nor is the next one when the time has come."""
    manager = make_manager()
    way(manager)
    assert manager.run(give("page"), timeout=BEGIN) == "page"
    assert manager.run(asyncio.sleep(BEGIN + 0.1, "unharmed")) == "unharmed"


@both
@on_worker
def test_an_own_timeout_error_passes_through(make_manager: MakeManager, way: Way) -> None:
    """A `TimeoutError` of the coroutine's own is not mistaken for ours, nor changed."""
    manager = make_manager()
    way(manager)
    own = TimeoutError("the database's")
    for timeout in (None, 10):
        with pytest.raises(TimeoutError) as caught:
            manager.run(throw(own), timeout=timeout)
        assert caught.value is own
        assert own.__cause__ is None


@on_plain_worker
def test_a_coroutine_that_ended_late_is_not_called_canceled(make_manager: MakeManager) -> None:
    """One that blocks its loop ends by itself, and the error does not say otherwise."""
    manager = make_manager()
    late = threading.Event()

    async def block() -> None:
        late.wait(LIMIT)

    release = threading.Timer(0.2, late.set)
    release.start()
    with pytest.raises(TimeoutError, match=r"block ended, but not within 0\.05 s\. Give") as caught:
        manager.run(block(), timeout=0.05)
    assert "was canceled" not in str(caught.value)
    release.join()


@both
@on_worker
def test_grace_bounds_the_cleanup(
    make_manager: MakeManager, way: Way, caplog: pytest.LogCaptureFixture
) -> None:
    """A coroutine that refuses to end is left behind after the grace, and named in the log."""
    manager = make_manager(grace=0.05)
    way(manager)
    stubborn = Stubborn()
    begun = time.monotonic()
    with pytest.raises(TimeoutError):
        manager.run(stubborn.wait(), timeout=BEGIN)
    assert time.monotonic() - begun < 5
    assert stubborn.refused.is_set()
    (said,) = our_log(caplog)
    assert "Stubborn.wait" in said
    stubborn.release()
    assert manager.run(give("goes on")) == "goes on"


@both
@on_worker
def test_cleanup_within_the_grace_is_not_logged(
    make_manager: MakeManager, way: Way, caplog: pytest.LogCaptureFixture
) -> None:
    """A timeout as such is the caller's business; the log has nothing to say about it."""
    manager = make_manager()
    way(manager)
    with pytest.raises(TimeoutError):
        manager.run(Endless().wait(), timeout=0.01)
    assert our_log(caplog) == []


@both
@on_worker
def test_a_timeout_of_zero(make_manager: MakeManager, way: Way) -> None:
    """No time at all is a timeout like any other, and never a call without one."""
    manager = make_manager()
    way(manager)
    slow = Endless()
    with pytest.raises(TimeoutError):
        manager.run(slow.wait(), timeout=0)
    assert slow.cleaned.is_set() or not slow.began.is_set()


@both
@on_worker
def test_an_error_in_the_cleanup_is_not_lost(make_manager: MakeManager, way: Way) -> None:
    """The `TimeoutError` has the error of the cleanup as its cause."""
    manager = make_manager()
    way(manager)
    broken = LookupError("in the cleanup")

    async def slow() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            raise broken

    with pytest.raises(TimeoutError) as caught:
        manager.run(slow(), timeout=BEGIN)
    assert caught.value.__cause__ is broken


@pytest.mark.parametrize("wrong", ["5", object()], ids=["str", "object"])
@on_worker
def test_a_timeout_that_is_no_number(make_manager: MakeManager, wrong: float) -> None:
    """A slip in the timeout is told at once, and the coroutine is closed."""
    with pytest.raises(TypeError, match="timeout"):
        make_manager().run(give(1), timeout=wrong)


@pytest.mark.parametrize("far", [float("inf"), 1e30, threading.TIMEOUT_MAX * 2])
@both
@on_worker
def test_a_timeout_beyond_all_clocks(make_manager: MakeManager, way: Way, far: float) -> None:
    """A very large timeout means for ever, and overflows nowhere."""
    manager = make_manager()
    way(manager)
    assert manager.run(give("page"), timeout=far) == "page"
    assert manager.submit_task(give(1), return_sync_future=True).result(far) == 1


@on_worker
def test_an_error_that_comes_after_the_caller_has_gone_is_logged(
    make_manager: MakeManager, caplog: pytest.LogCaptureFixture
) -> None:
    """A cleanup that takes too long and then fails is not lost."""
    manager, go_on = make_manager(grace=0.01), asyncio.Event()

    async def save() -> None:
        try:
            await asyncio.sleep(LIMIT)
        finally:
            await go_on.wait()
            raise ValueError("the rollback failed")

    with pytest.raises(TimeoutError):
        manager.run(save(), timeout=BEGIN)
    manager.get_event_loop().call_soon_threadsafe(go_on.set)
    wait_until(lambda: "the rollback failed" in caplog.text, what="the error is logged")
    assert any("save failed after its caller" in line for line in our_log(caplog))


@on_plain_worker
def test_a_stop_of_what_was_given_up_is_no_error(
    make_manager: MakeManager, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has told already that the call continues without its caller."""
    manager, stubborn = make_manager(grace=0.01), Stubborn()
    with pytest.raises(TimeoutError):
        manager.run(stubborn.wait(), timeout=BEGIN)
    stubborn.release()
    manager.stop()
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
