"""The users' hooks, which are called on a manager's loop when it starts and stops."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import weakref
from typing import TYPE_CHECKING

from wsgi_async.core.base.coroutines import name_after
from wsgi_async.core.messages.errors import Closing
from wsgi_async.core.runners.run import run

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from wsgi_async.core.base.settings import Hook
    from wsgi_async.core.runners.runner import Runner

__all__ = ["call_hook", "call_on_stop", "own_loop", "run_on_start"]

_START_TIMEOUT = 10.0
"""Seconds that an `on_start` may take."""

# Weak, because a context lives as long as its task.
own_loop: contextvars.ContextVar[Callable[[], asyncio.AbstractEventLoop | None] | None]
own_loop = contextvars.ContextVar("wsgi_async loop", default=None)
"""Returns the loop whose `on_start` or resource the current code belongs to, also sync code."""


def run_on_start(runner: Runner, hook: Hook) -> None:
    """Call `on_start` on a loop that no other code uses yet, and wait for it.

    It runs in an empty context, because its tasks outlive the request that starts the manager.

    Raises:
        WaitTimeoutError: The hook did not end in time.
        BaseException: What the hook raised.
    """
    context = contextvars.Context()
    context.run(own_loop.set, weakref.ref(runner.live.raw))
    try:
        context.run(run, runner, call_hook(hook), _START_TIMEOUT)
    except Closing as error:  # pragma: no cover - the loop itself has failed meanwhile
        raise RuntimeError("The manager was stopped before its on_start was done.") from error


def call_hook(hook: Hook) -> Coroutine[None, None, None]:
    """A coroutine that calls a hook, and awaits the hook's result if it is awaitable."""

    async def call() -> None:
        result = hook()
        if inspect.isawaitable(result):
            await result

    return name_after(hook, call())


async def call_on_stop(hook: Hook, failed: Callable[[BaseException], None]) -> None:
    """Call `on_stop`. Report its exception instead of raising it: the stop must continue.

    The hook may raise the CancelledError of a task that it has canceled and awaited. A SystemExit
    would leave the loop.
    """
    try:
        await call_hook(hook)
    except BaseException as error:
        if isinstance(error, GeneratorExit) or _is_canceled():
            raise  # the hook did not end in time
        failed(error)


def _is_canceled() -> bool:
    task = asyncio.current_task()
    return task is not None and bool(task.cancelling())
