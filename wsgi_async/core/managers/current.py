"""The manager that a thread uses when nobody says which."""

from __future__ import annotations

import contextvars
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

from wsgi_async.core.base.checks import refuse_in_event_loop, running_loop
from wsgi_async.core.base.deadlines import at_least

from .manager import AsyncioLoopManager, lifecycle_of
from .registry import find_manager, get_or_create_loop_manager

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable
    from contextlib import AbstractContextManager

__all__ = ["current_manager", "request_manager", "run", "start_once", "with_grace"]

T = TypeVar("T")

# Weak, as the contexts of a request live as long as a connection that it has opened.
request_manager: contextvars.ContextVar[Callable[[], AsyncioLoopManager | None] | None]
request_manager = contextvars.ContextVar("wsgi_async manager", default=None)
"""Finds the manager of the present request: a weak reference, mostly."""


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
    return _running_here() or start_once(
        find_manager(None) or get_or_create_loop_manager(None, True)
    )


def with_grace() -> AbstractContextManager[None]:
    """Give what runs in the block the manager's grace, also after the request's deadline.

    For what a framework calls to answer for a request that has failed, or to clean up after it.
    In the request's thread; elsewhere it does nothing.
    """
    reference = request_manager.get()
    manager = None if reference is None else reference()
    runner = None if manager is None else lifecycle_of(manager).runner
    return nullcontext() if runner is None else at_least(runner.live.grace)


def _running_here() -> AsyncioLoopManager | None:
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
        refuse_in_event_loop("await the coroutine itself")  # before a loop is made for nothing
        manager = current_manager()
    except BaseException:
        close = getattr(coro, "close", None)
        if close is not None:
            close()
        raise
    return manager.run(coro, timeout=timeout, task_type=manager.task_type)


def start_once(manager: AsyncioLoopManager, task_type: Hashable = None) -> AsyncioLoopManager:
    """Start a manager that is to last as long as its thread, unless it runs; return it."""
    life = lifecycle_of(manager)
    while not manager.running:
        life.lasting = True
        try:
            manager.start(task_type)
        except RuntimeError:
            # A thread that shares it was faster: start() lets in one after the other. Where its
            # start fails, that is no error of ours: try again.
            faster = manager.state == "starting" and life.wait_started()
            if not (faster or manager.running):
                raise
    return manager
