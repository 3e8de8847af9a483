"""What is called, and what else is on the loop meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple

Work = Callable[[], Coroutine[Any, Any, object]]
"""Makes the coroutine of one call."""


class OnLoop(NamedTuple):
    """What a way to call can do on its loop besides the calls that are timed.

    Args:
        run: runs a coroutine to its end.
        start: starts one in the background.
    """

    run: Callable[[Coroutine[Any, Any, object]], object]
    start: Callable[[Coroutine[Any, Any, object]], object]


Setting = Callable[[OnLoop], AbstractContextManager[Work]]
"""Prepares a loop for the calls, gives their coroutine, and tidies up."""


async def noop() -> None:
    """Do nothing: so the whole time is that of the way to call."""


async def give_way() -> None:
    """Let the loop take one more turn, as everything does that waits for something."""
    await asyncio.sleep(0)


@contextmanager
def nothing(_: OnLoop) -> Iterator[Work]:
    """Call `noop()`, with nothing else on the loop."""
    yield noop


def beside_task(setting: Setting) -> Setting:
    """Return the same setting with a task that waits on the loop all the time."""

    @contextmanager
    def with_task(on: OnLoop) -> Iterator[Work]:
        over = asyncio.Event()
        on.start(_wait_for(over))
        try:
            with setting(on) as work:
                yield work
        finally:
            on.run(_set(over))

    return with_task


async def _wait_for(over: asyncio.Event) -> None:
    await over.wait()


async def _set(over: asyncio.Event) -> None:
    over.set()
    await asyncio.sleep(0)  # the task that waits for it ends in this turn
