"""The manager that the current code uses by default."""

from __future__ import annotations

import asyncio
import contextvars
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

from wsgi_async.core.base.checks import refuse_in_event_loop, running_loop
from wsgi_async.core.base.coroutines import close_refused
from wsgi_async.core.base.deadlines import at_least

from .manager import AsyncioLoopManager, lifecycle_of
from .registry import find_manager, get_or_create_loop_manager

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable
    from contextlib import AbstractContextManager

__all__ = ["current_manager", "request_manager", "run", "running_here", "start_once", "with_grace"]

T = TypeVar("T")

# Weak, because a connection that a request has opened keeps the request's context alive.
request_manager: contextvars.ContextVar[Callable[[], AsyncioLoopManager | None] | None]
request_manager = contextvars.ContextVar("wsgi_async manager", default=None)
"""Returns the current request's manager. Mostly a weak reference to it."""


def current_manager() -> AsyncioLoopManager:
    """Return the running manager that the current code uses.

    It is the first of: the current request's manager; in a coroutine, the manager that runs it; the
    thread's own manager; the manager of the thread that started this one, and so on; a new manager,
    which lives as long as the thread. The last three are managers without an id. From any thread.

    Raises:
        RuntimeError, OSError: A new one cannot be started.
    """
    reference = request_manager.get()
    manager = None if reference is None else reference()
    if manager is not None and manager.running and lifecycle_of(manager).usable_here:
        return manager
    return running_here() or start_once(
        find_manager(None) or get_or_create_loop_manager(None, True)
    )


def with_grace() -> AbstractContextManager[None]:
    """Give the code in the block the manager's grace, even after the request's deadline.

    For code that a framework calls to answer a request that has failed, or to clean up after it.
    Works in the request's thread; elsewhere it does nothing.
    """
    reference = request_manager.get()
    manager = None if reference is None else reference()
    runner = None if manager is None else lifecycle_of(manager).runner
    return nullcontext() if runner is None else at_least(runner.live.grace)


def running_here() -> AsyncioLoopManager | None:
    """The manager on whose loop the current code runs."""
    loop = running_loop()
    if loop is None:
        return None
    managers = AsyncioLoopManager.all_instances()
    return next((one for one in managers if lifecycle_of(one).is_loop(loop)), None)


def run(coro: Coroutine[Any, Any, T], *, timeout: float | None = None) -> T:
    """Run a coroutine on the current manager's loop and return its result.

    Use it in place of `asyncio.run()`: the loop stays open after the call, so clients, connection
    pools and background tasks stay usable. In a request it is the request's loop, elsewhere the
    thread's. Blocks until the coroutine is done.

    Args:
        coro: The coroutine. It is closed if it is not accepted.
        timeout: Seconds until the coroutine is canceled.

    Raises:
        WaitTimeoutError: The timeout or the request's deadline has passed.
        RunningLoopError: This thread is running an event loop.
        RuntimeError, OSError: A loop cannot be created.
        BaseException: What the coroutine raised.
    """
    try:
        refuse_in_event_loop("await the coroutine itself")  # before a needless loop is made
        manager = current_manager()
    except BaseException:
        if asyncio.iscoroutine(coro):
            close_refused(coro)
        raise
    return manager.run(coro, timeout=timeout, task_type=manager.task_type)


def start_once(manager: AsyncioLoopManager, task_type: Hashable = None) -> AsyncioLoopManager:
    """Start a manager, unless it runs, to last as long as its thread. Return it."""
    life = lifecycle_of(manager)
    while not manager.running:
        life.lasting = True
        try:
            manager.start(task_type)
        except RuntimeError:
            # Another thread that shares the manager was faster: one start() runs at a time. If
            # that start fails, the error is not ours: try again. But sync code of its on_start
            # must not wait: that start() waits for it.
            faster = (
                manager.state == "starting"
                and not life.waits_for_this_code()
                and life.wait_started()
            )
            if not (faster or manager.running):
                raise
    return manager
