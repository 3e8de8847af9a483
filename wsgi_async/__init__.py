"""An event loop for every WSGI worker thread.

Wrap an app in `AsyncLoopMiddleware`, and find the worker thread's `AsyncioLoopManager` in
`environ["async.loop"]`, and what ends with the request in `environ["async.scope"]`.
"""

from .core import (
    AsyncioLoopManager,
    LoopResource,
    ManagerNotFound,
    SyncFuture,
    UnknownAsyncTaskError,
    async_to_sync,
    async_to_sync_future,
    get_or_create_loop_manager,
    get_parent_thread,
    loop_resource,
)
from .middleware import AsyncLoopMiddleware, loop_from, scope_from
from .scopes import RequestScope

__version__ = "0.1.0"

__all__ = [
    "AsyncLoopMiddleware",
    "AsyncioLoopManager",
    "LoopResource",
    "ManagerNotFound",
    "RequestScope",
    "SyncFuture",
    "UnknownAsyncTaskError",
    "async_to_sync",
    "async_to_sync_future",
    "get_or_create_loop_manager",
    "get_parent_thread",
    "loop_from",
    "loop_resource",
    "scope_from",
]
