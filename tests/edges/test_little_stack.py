"""Calls from a deep recursion: with every amount of stack left, down to nothing."""

from __future__ import annotations

import inspect
import sys
import warnings
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.core.support import Endless, give, in_thread, reached, run_process, say
from tests.edges.parts import PLACES, calling_from
from wsgi_async import AsyncioLoopManager

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    Use = Callable[[AsyncioLoopManager], object]


async def numbers() -> AsyncIterator[int]:
    for number in range(3):
        yield await give(number)


@asynccontextmanager
async def entered() -> AsyncIterator[int]:
    yield await give(1)
    await give(2)


def iterate(manager: AsyncioLoopManager, prefetch: int) -> None:
    with manager.iterate(numbers(), prefetch=prefetch) as items:
        assert list(items) == [0, 1, 2]


def enter(manager: AsyncioLoopManager) -> None:
    with manager.wrap_async_context_manager(entered()) as value:
        assert value == 1


USES: dict[str, Use] = {
    "run": lambda manager: manager.run(give(1)),
    "future": lambda manager: manager.submit_task(give(1)).result(),
    "sync future": lambda manager: manager.submit_task(give(1), True).result(),
    "iterate": lambda manager: iterate(manager, 0),
    "prefetch": lambda manager: iterate(manager, 2),
    "context manager": enter,
}


def recurse(use: Callable[[], object]) -> int:
    """Call something with less and less of the stack left; how often that was too little."""
    failures = 0

    def step() -> None:
        nonlocal failures
        try:
            use()
        except RecursionError:
            failures += 1
        step()

    try:
        step()
    except RecursionError:
        return failures
    raise AssertionError("it came to an end")


def child(name: str, place: str) -> None:
    """Use a manager in a deep recursion while a task is in flight, and then as usual."""
    # What could not be handed over, or not be closed, is the caller's, who has run out of stack.
    warnings.simplefilter("ignore")
    sys.setrecursionlimit(300)
    with calling_from(place) as call:
        manager, endless = call.manager, Endless()
        background = manager.submit_task(endless.wait())
        reached(endless.began)
        assert call(recurse, lambda: USES[name](manager)) > 0
        say("recursed")
        USES[name](manager)
        call(USES[name], manager)
        in_thread(USES[name], manager)
        assert not background.done()
        say("works on")
        manager.stop()
        assert endless.cleaned.is_set()
        assert manager.state == "stopped"
        say("stopped")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", USES)
def test_the_caller_gets_the_error_and_the_manager_works_on(name: str, place: str) -> None:
    """A call that runs out of stack raises RecursionError; it never hangs, nor does the next."""
    out, err, status = run_process(child, name, place, limit=10)
    assert out.splitlines() == ["recursed", "works on", "stopped"], err
    assert status == 0, err


def test_a_coroutine_that_was_not_started_is_closed() -> None:
    """So that Python does not warn of it, beside the error."""
    coro: Any = give(1)

    def deep(left: int) -> None:
        if left:
            deep(left - 1)
        else:
            manager.run(coro)

    with AsyncioLoopManager() as manager:
        with pytest.raises(RecursionError, match="nothing was started"):
            deep(sys.getrecursionlimit() - len(inspect.stack(0)) - 60)
        assert coro.cr_frame is None
