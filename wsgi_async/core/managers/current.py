"""The manager that a thread uses when nobody says which."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from . import lineage
from .registry import get_or_create_loop_manager

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable
    from contextvars import Context

    from .manager import AsyncioLoopManager

__all__ = ["Interlude", "own_manager", "start_once", "use"]

P = ParamSpec("P")
T = TypeVar("T")


class _Own(threading.local):
    manager: AsyncioLoopManager | None = None


_own = _Own()


def own_manager() -> AsyncioLoopManager:
    """The manager of the current thread's requests, or else its own one; running.

    It is made if there is none, lives as long as the thread, and is never one that the thread
    would only inherit. From any thread.

    Raises:
        RuntimeError, OSError: A new one cannot be started.
    """
    manager = _own.manager
    # It may have been stopped by hand, or be the one of the process we were forked from.
    if manager is None or not manager.running:
        manager = _own.manager = start_once(_find() or get_or_create_loop_manager(None, True))
    return manager


def use(manager: AsyncioLoopManager, context: Context) -> Context | Interlude:
    """Have `own_manager()` return this one in the current thread, as long as it runs.

    Returns:
        What all of a request is to be run by: its context; or, where the thread uses another
        manager, for a request around this one perhaps, what gives that back each time.
    """
    used = _own.manager
    if used is not manager:
        if used is not None and used.running:
            return Interlude(manager, context)
        _own.manager = manager
    return context


class Interlude:
    """Runs what belongs to a request that another one, of another manager, may have made.

    The outer request's code comes again between any two parts of this one. Lives as long as the
    request; only for its thread.

    Args:
        manager: The request's.
        context: The context that all of the request runs in.
    """

    __slots__ = ("_context", "_manager")

    def __init__(self, manager: AsyncioLoopManager, context: Context) -> None:
        self._manager = manager
        self._context = context

    def run(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """As `Context.run()`."""
        used, _own.manager = _own.manager, self._manager
        try:
            return self._context.run(fn, *args, **kwargs)
        finally:
            _own.manager = used


def _find() -> AsyncioLoopManager | None:
    node = lineage.current_node()
    with lineage.lock():
        manager: AsyncioLoopManager | None = node.found.get(None)
    return manager if manager is not None and manager.state in ("new", "running") else None


def start_once(manager: AsyncioLoopManager, task_type: Hashable = None) -> AsyncioLoopManager:
    """Start a manager that is to last as long as its thread, unless it runs; return it."""
    if not manager.running:
        manager.lasting = True
        try:
            manager.start(task_type)
        except RuntimeError:
            # A thread that shares it was faster: it has seen the same unstarted manager, and
            # start() lets in one after the other.
            if not manager.running:
                raise
    return manager
