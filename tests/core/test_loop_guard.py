"""The loop's guard: what user code on the loop cannot break, with an error that says what to do."""

from __future__ import annotations

import asyncio
import inspect
import signal
from typing import TYPE_CHECKING, Any

import pytest

from tests.core.support import (
    Endless,
    give,
    in_thread,
    on_plain_worker,
    on_worker,
    our_log,
    reached,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.core.conftest import MakeManager

    Misuse = Callable[[asyncio.AbstractEventLoop], object]


def run_forever(loop: asyncio.AbstractEventLoop) -> object:
    return loop.run_forever()


def run_until_complete(loop: asyncio.AbstractEventLoop) -> object:
    coro = give(1)
    try:
        return loop.run_until_complete(coro)
    finally:
        assert inspect.getcoroutinestate(coro) == inspect.CORO_CLOSED


def close(loop: asyncio.AbstractEventLoop) -> object:
    return loop.close()


def add_signal_handler(loop: asyncio.AbstractEventLoop) -> object:
    return loop.add_signal_handler(signal.SIGUSR1, int)


every_misuse = pytest.mark.parametrize(
    ("misuse", "way_out"),
    [
        (run_forever, "run()"),
        (run_until_complete, "run()"),
        (close, "stop()"),
        (add_signal_handler, "signal.signal"),
    ],
)


@every_misuse
@on_worker
def test_from_outside(make_manager: MakeManager, misuse: Misuse, way_out: str) -> None:
    """With nothing under way, what would break the loop is refused, and the loop works on."""
    manager = make_manager()
    manager.run(give(1))
    with pytest.raises(RuntimeError) as caught:
        misuse(manager.get_event_loop())
    assert way_out in str(caught.value)
    assert manager.run(give("lives on")) == "lives on"


@every_misuse
@on_worker
def test_from_another_thread(make_manager: MakeManager, misuse: Misuse, way_out: str) -> None:
    """With work in flight it is refused as well, and that is not disturbed."""
    manager, task = make_manager(), Endless()
    manager.submit_task(task.wait())
    reached(task.began)
    with pytest.raises(RuntimeError) as caught:
        in_thread(misuse, manager.get_event_loop())
    assert way_out in str(caught.value)
    assert manager.run(give("lives on")) == "lives on"
    assert not task.cleaned.is_set()


@pytest.mark.parametrize(
    ("misuse", "way_out"),
    [
        (run_forever, "Await"),
        (run_until_complete, "Await"),
        (close, "stop()"),
        (add_signal_handler, "signal.signal"),
    ],
)
@on_worker
def test_from_a_coroutine(make_manager: MakeManager, misuse: Misuse, way_out: str) -> None:
    """In a coroutine it is refused, and a sync function that would wait is to be awaited."""
    manager = make_manager()

    async def use() -> str:
        with pytest.raises(RuntimeError) as caught:
            misuse(asyncio.get_running_loop())
        return str(caught.value)

    assert way_out in manager.run(use())
    assert way_out in manager.submit_task(use()).result()


@on_worker
def test_asyncio_run_is_not_ours(make_manager: MakeManager) -> None:
    """Only our own loop is guarded: others of the same class run, stop and close as usual."""
    make_manager()
    loop = asyncio.SelectorEventLoop()
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert loop.run_until_complete(give(1)) == 1
    loop.close()
    assert loop.is_closed()
    assert asyncio.run(give(2)) == 2


@on_worker
def test_stop_from_outside(make_manager: MakeManager, caplog: pytest.LogCaptureFixture) -> None:
    """`loop.stop()` is ignored from outside too, at rest and at work, and told once."""
    manager, task = make_manager("mine"), Endless()
    loop = manager.get_event_loop()
    loop.stop()
    loop.call_soon_threadsafe(loop.stop)
    assert manager.run(give("lives on")) == "lives on"
    manager.submit_task(task.wait())
    reached(task.began)
    loop.call_soon_threadsafe(loop.stop)
    in_thread(loop.stop)
    assert manager.run(give("lives on")) == "lives on"
    assert not task.cleaned.is_set()
    (line,) = our_log(caplog)
    assert "'mine'" in line
    assert "manager's stop()" in line


@on_worker
def test_each_loop_has_its_own_word(
    make_manager: MakeManager, caplog: pytest.LogCaptureFixture
) -> None:
    """What is told once is told once for each loop."""
    for name in ("one", "two"):
        make_manager(name).get_event_loop().stop()
    lines = our_log(caplog)
    assert ["'one'" in lines[0], "'two'" in lines[1], len(lines)] == [True, True, 2]


@on_worker
def test_waiting_for_a_future(make_manager: MakeManager) -> None:
    """A future is refused as a coroutine is, and stays what it was."""
    loop = make_manager().get_event_loop()
    future: asyncio.Future[int] = loop.create_future()
    with pytest.raises(RuntimeError, match=r"run\(\)"):
        loop.run_until_complete(future)
    assert not future.done()


class Fixed(asyncio.SelectorEventLoop):
    """As a loop that is an extension type: none of its methods can be replaced."""

    def __setattr__(self, name: str, value: object) -> None:
        if hasattr(type(self), name):
            raise AttributeError(name)
        super().__setattr__(name, value)


@on_plain_worker
def test_a_loop_that_takes_no_guard(make_manager: MakeManager) -> None:
    """A loop whose methods cannot be replaced works without a guard."""
    manager = make_manager(loop_factory=Fixed)
    assert manager.run(give(1)) == 1
    loop = manager.get_event_loop()
    assert loop.run_forever.__func__ is asyncio.SelectorEventLoop.run_forever  # type: ignore[attr-defined]
    manager.stop()
    assert loop.is_closed()


@on_worker
def test_after_the_managers_stop(make_manager: MakeManager) -> None:
    """A loop that was given back by `stop()` is an ordinary closed loop."""
    manager = make_manager()
    loop: Any = manager.get_event_loop()
    manager.stop()
    assert loop.is_closed()
    loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        loop.run_forever()
    with pytest.raises(RuntimeError, match="closed"):
        loop.call_soon_threadsafe(int)
