"""Find or create the manager of a request."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from wsgi_async.core import get_or_create_loop_manager
from wsgi_async.core.base import threads
from wsgi_async.core.managers.current import start_once
from wsgi_async.core.managers.manager import lifecycle_of
from wsgi_async.core.managers.pool import ManagerPool
from wsgi_async.core.messages.errors import ManagerStateError
from wsgi_async.routing.managers import process_managers

from .servers import (
    refuse_greenlets,
    refuse_uwsgi_without_threads,
    starts_thread_per_request,
    warn_of_subinterpreter,
    what_ran_out,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wsgi_async.core import AsyncioLoopManager

    from .options import Options

__all__ = ["Provider"]


class Provider:
    """Finds or makes the manager of a request. Lives as long as the middleware.

    Callable from any thread.
    """

    def __init__(self, options: Options) -> None:
        refuse_greenlets()
        refuse_uwsgi_without_threads()
        self.options = options
        self._pool = ManagerPool(max_idle=options.max_idle, max_idle_time=options.max_idle_time)

    def first_request(self, environ: Mapping[str, Any]) -> AsyncioLoopManager:
        """The manager, running, for a thread's first request."""
        refuse_greenlets()
        warn_of_subinterpreter(environ)
        try:
            return self._find(environ)
        except (OSError, RuntimeError) as error:
            reason = what_ran_out(error)
            if reason is None:
                raise
            # Not an OSError: servers take that for a broken connection, and send no response.
            raise ManagerStateError(
                f"This worker thread gets no event loop: {reason} The next request tries again."
            ) from error

    def _find(self, environ: Mapping[str, Any]) -> AsyncioLoopManager:
        options = self.options
        if options.per == "process":
            return process_managers.find(
                options.key, options.id, options.task_type, **options.manager_settings()
            )
        if not options.force_create:
            shared = get_or_create_loop_manager(options.id, **options.manager_settings())
            return start_once(shared, options.task_type)
        manager = _made.find(options.key)
        if manager is None:
            manager = self._make(environ)
            _made.managers.append((options.key, manager))
        return manager

    def _make(self, environ: Mapping[str, Any]) -> AsyncioLoopManager:
        """A manager of the thread's own, running. If it cannot start, it is unregistered."""
        options = self.options
        of_pool = _own_of_pool(options)
        if of_pool is not None:
            return of_pool
        reuse = options.reuse
        if reuse == "auto":
            reuse = starts_thread_per_request(environ)
        waiting = self._pool.take() if reuse else None
        if waiting is not None:
            return waiting
        manager = get_or_create_loop_manager(options.id, True, **options.manager_settings())
        try:
            start_once(manager, options.task_type)
        except BaseException:
            manager.stop()
            raise
        if reuse:
            self._pool.keep(manager)
        return manager


def _own_of_pool(options: Options) -> AsyncioLoopManager | None:
    """The manager that our thread pool has made for the current thread, if it runs in one."""
    node = threads.current_node()
    manager: AsyncioLoopManager | None = node.found.get(None)
    if manager is None or not manager.running or manager.task_type != options.task_type:
        return None
    if not lifecycle_of(manager).of_pool:
        return None
    node.found[options.id] = manager
    return manager


class _Made(threading.local):
    """The managers that the middlewares made, one list per thread. Lives as long as the process.

    Middlewares with equal options share their managers: an application factory that a test suite
    calls a thousand times does not leave a thousand loops in the main thread.
    """

    def __init__(self) -> None:
        self.managers: list[tuple[object, AsyncioLoopManager]] = []  # each with its options' key

    def find(self, key: object) -> AsyncioLoopManager | None:
        """The current thread's running manager for these options."""
        self.managers = [made for made in self.managers if made[1].running]
        return next((manager for known, manager in self.managers if known == key), None)


_made = _Made()
