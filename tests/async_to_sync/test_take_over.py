"""A sync function that lasts too long while its thread drives: the keeper takes the loop over."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.local import Local
from asgiref.sync import async_to_sync as asgirefs_own
from asgiref.sync import sync_to_async

from tests.async_to_sync.parts import SHORT, Branches, called_on, ident, stepped_by
from tests.core.support import LIMIT, Worker, our_log, reached, wait_until
from wsgi_async import async_to_sync
from wsgi_async.core.baton import Baton

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.async_to_sync.conftest import Start

local = Local()


def taken_over(caplog: pytest.LogCaptureFixture, times: int) -> None:
    """The log says so, that often, and nothing else."""
    # The line is written after the keeper has been woken, so perhaps after all else is over.
    wait_until(lambda: len(our_log(caplog)) >= times, "the log says nothing")
    lines = our_log(caplog)
    assert all("a sync function" in line and "the keeper drives" in line for line in lines), lines
    assert len(lines) == times


def test_branch_sets_what_it_waits_for(
    worker: Worker, start: Start, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A sync function that waits for another branch gets it; where it took long the log tells."""
    start(mode, max_pause=SHORT)
    branches = Branches()
    assert worker.call(async_to_sync(branches.both))
    taken_over(caplog, int(mode == "drives"))
    first, last = branches.stepped
    assert (first == worker.thread.ident) == (mode == "drives")
    assert last != worker.thread.ident


def test_short_ones(worker: Worker, start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """Many short ones that together take longer are no reason."""
    start(max_pause=SHORT)

    async def call() -> int:
        until = time.monotonic() + 2 * SHORT
        while time.monotonic() < until:
            await sync_to_async(ident)()
        return ident()

    assert worker.call(async_to_sync(call)) == worker.thread.ident
    taken_over(caplog, 0)


def test_served_afterwards(worker: Worker, start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """After it the calling thread goes on running sync functions, and drives the next call."""
    start(max_pause=SHORT)
    branches = Branches()

    async def call() -> list[int]:
        await branches.both()
        return [await called_on(), await sync_to_async(async_to_sync(called_on))()]

    for _ in range(2):
        assert worker.call(async_to_sync(call)) == [worker.thread.ident] * 2
        assert worker.call(async_to_sync(stepped_by)) == worker.thread.ident
        branches.__init__()  # type: ignore[misc]
    taken_over(caplog, 2)


def test_nested(worker: Worker, start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """At any depth; the layers above go on as before."""
    start(max_pause=SHORT)
    branches = Branches()

    async def layer(left: int) -> list[int]:
        if not left:
            assert await branches.both()
            return []
        below = await sync_to_async(async_to_sync(layer))(left - 1)
        return [*below, await called_on()]

    assert worker.call(async_to_sync(layer), 4) == [worker.thread.ident] * 4
    taken_over(caplog, 1)


def test_outer_branch(worker: Worker, start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """An inner sync function may wait for a branch of the outermost coroutine, and again."""
    start(max_pause=SHORT)
    inner, outer = Branches(), Branches()

    async def nested() -> bool:
        return bool(await sync_to_async(inner.wait)())

    def function() -> bool:
        return bool(async_to_sync(nested)()) and outer.wait()

    async def call() -> bool:
        waited, *_ = await asyncio.gather(sync_to_async(function)(), inner.set(), outer.set())
        return bool(waited)

    assert worker.call(async_to_sync(call))
    taken_over(caplog, 1)  # the keeper had it already, the second time


def test_driving_is_no_pause(
    worker: Worker, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """A sync function that calls coroutines itself may last: the loop runs meanwhile."""
    manager = start(max_pause=SHORT)

    def function() -> list[int]:
        manager.run(asyncio.sleep(2 * SHORT))
        manager.submit_task(asyncio.sleep(2 * SHORT), return_sync_future=True).result(LIMIT)
        async_to_sync(asyncio.sleep)(2 * SHORT)
        return [async_to_sync(stepped_by)()]

    async def call() -> list[int]:
        return [*await sync_to_async(function)(), ident()]

    assert worker.call(async_to_sync(call)) == [worker.thread.ident] * 2
    taken_over(caplog, 0)


def test_pause_after_driving(
    worker: Worker, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """When it has called one and then waits by itself, that counts."""
    start(max_pause=SHORT)
    branches = Branches()

    def function() -> bool:
        async_to_sync(stepped_by)()
        return branches.wait()

    async def call() -> bool:
        return all(
            (await asyncio.gather(sync_to_async(function)(), branches.set(), stepped_by()))[::2]
        )

    assert worker.call(async_to_sync(call))
    taken_over(caplog, 1)


def test_calls_again(worker: Worker, start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """The function whose loop was taken over may call coroutines, which the keeper then steps."""
    start(max_pause=SHORT)
    branches = Branches()

    def function() -> tuple[int, int]:
        branches.wait()
        return async_to_sync(stepped_by)(), async_to_sync(called_on)()

    async def call() -> tuple[int, int, int]:
        found, _ = await asyncio.gather(sync_to_async(function)(), branches.set())
        return *found, ident()

    stepper, caller, last = worker.call(async_to_sync(call))
    assert stepper == last != worker.thread.ident
    assert caller == worker.thread.ident
    taken_over(caplog, 1)


class _TakenOver(Baton):
    """A baton that is taken over in the worst moment, once."""

    armed = False

    @property
    def closing(self) -> bool:
        """Looked at when a driver calls again, between its looks at the holder and the pause."""
        if self.armed and self.paused is not None:
            self.armed = False
            assert self.take_over(0)[0]
        return False

    @closing.setter
    def closing(self, value: bool) -> None:
        self.__dict__["closing"] = value


def test_in_the_moment_of_a_call(worker: Worker, start: Start) -> None:
    """Taken over just as the function calls a coroutine: one thread drives, and it is answered."""
    manager = start(max_pause=60)
    driver = manager.driver()
    baton: Any = driver.baton
    baton.__class__ = _TakenOver
    holders: list[object] = []

    async def look() -> int:
        holders.append(baton.holder)
        return ident()

    def function() -> int:
        baton.armed = True
        return async_to_sync(look)()

    async def call() -> int:
        return await sync_to_async(function)()

    stepper = worker.call(async_to_sync(call))
    assert not baton.armed
    baton.__class__ = Baton
    assert stepper == holders[0] == baton.keeper


@pytest.mark.parametrize("error", [None, KeyError("reason")])
def test_outcome(worker: Worker, start: Start, error: Exception | None) -> None:
    """What the function returns or raises after it was taken over reaches the coroutine."""
    start(max_pause=SHORT)
    branches = Branches()

    def function() -> str:
        branches.wait()
        if error is not None:
            raise error
        return "done"

    async def call() -> object:
        found, _ = await asyncio.gather(
            sync_to_async(function)(), branches.set(), return_exceptions=True
        )
        return found

    assert worker.call(async_to_sync(call)) == ("done" if error is None else error)


@pytest.mark.parametrize("max_pause", [SHORT, 60])
def test_stop_meanwhile(
    worker: Worker, start: Start, max_pause: float, caplog: pytest.LogCaptureFixture
) -> None:
    """A stop() while a sync function runs does not wait for that; its caller gets the error."""
    manager = start(max_pause=max_pause)
    began, go = threading.Event(), threading.Event()

    def function() -> None:
        began.set()
        go.wait(LIMIT)

    async def call() -> None:
        await sync_to_async(function)()

    waiting = worker.begin(async_to_sync(call))
    reached(began)
    before = time.monotonic()
    manager.stop(0.3)
    assert time.monotonic() - before < LIMIT / 2
    go.set()
    with pytest.raises(RuntimeError, match="stopped"):
        waiting.result(LIMIT)
    wait_until(lambda: manager.state == "stopped", "it is not stopped")
    assert worker.call(async_to_sync(called_on)) == worker.thread.ident
    if max_pause == SHORT:
        taken_over(caplog, 1)


def test_timeout_meanwhile(worker: Worker, start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """A timeout that is over after the take-over cancels the coroutine while the function runs."""
    manager = start(max_pause=SHORT)
    go = threading.Event()
    cleaned: list[int] = []

    async def call() -> None:
        try:
            await sync_to_async(go.wait)(LIMIT)
        finally:
            go.set()  # else the function would last
            cleaned.append(await called_on())

    with pytest.raises(TimeoutError, match="within"):
        worker.call(lambda: manager.run(call(), timeout=2 * SHORT))
    assert cleaned == [worker.thread.ident]
    taken_over(caplog, 1)
    assert worker.call(async_to_sync(stepped_by)) == worker.thread.ident


def test_local(worker: Worker, start: Start) -> None:
    """The coroutine that goes on under the keeper still sees asgiref's Locals, and sets them."""
    start(max_pause=SHORT)
    branches = Branches()

    async def call() -> object:
        local.value = "coroutine"
        await asyncio.gather(sync_to_async(branches.wait)(), branches.set())
        seen = local.value
        local.value = "after"
        return seen

    def view() -> tuple[object, object]:
        local.value = "view"
        return async_to_sync(call)(), local.value

    import contextvars

    assert worker.call(contextvars.copy_context().run, view) == ("coroutine", "after")


def test_stream(worker: Worker, start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """A stream that was taken over comes from the keeper to its end, its sync functions do not."""
    manager = start(max_pause=SHORT)
    branches = Branches()

    async def items() -> AsyncIterator[tuple[int, int, object]]:
        local.value = "stream"
        yield ident(), await called_on(), local.value
        await asyncio.gather(sync_to_async(branches.wait)(), branches.set())
        for _ in range(3):
            yield ident(), await called_on(), local.value

    mine = worker.thread.ident
    first, *rest = worker.call(lambda: list(manager.iterate(items())))
    assert first == (mine, mine, "stream")
    assert len(set(rest)) == 1
    keeper, caller, seen = rest[0]
    assert keeper != mine
    assert (caller, seen) == (mine, "stream")
    taken_over(caplog, 1)


def test_past_the_manager(worker: Worker, start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """A sync function that posts to its loop and waits gets its answer."""
    manager = start(max_pause=SHORT)

    def function() -> int:
        loop = manager.get_event_loop()
        return asyncio.run_coroutine_threadsafe(stepped_by(), loop).result(LIMIT)

    async def call() -> int:
        return await sync_to_async(function)()

    assert worker.call(async_to_sync(call)) != worker.thread.ident
    taken_over(caplog, 1)


def test_asgirefs_own_inside(
    worker: Worker, start: Start, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    """asgiref's `async_to_sync`, not replaced, works in there too, after the pause."""
    start(mode, max_pause=SHORT)

    async def call() -> tuple[int, int]:
        return (
            await sync_to_async(asgirefs_own(stepped_by))(),
            await sync_to_async(asgirefs_own(called_on))(),
        )

    stepper, caller = worker.call(async_to_sync(call))
    assert stepper != worker.thread.ident
    assert caller == worker.thread.ident
    taken_over(caplog, int(mode == "drives"))


def test_every_waiter_drives(worker: Worker, start: Start) -> None:
    """With `drive="caller"` a second caller may take it over; all get their answers."""
    manager = start("caller", max_pause=SHORT)
    branches = Branches()
    first = worker.begin(async_to_sync(branches.both))
    reached(branches.began)
    with Worker() as second:
        assert second.call(lambda: manager.run(called_on())) == second.thread.ident
    assert first.result(LIMIT)
    assert worker.call(async_to_sync(called_on)) == worker.thread.ident
