"""An event loop for every WSGI worker thread.

Wrap an app in `AsyncLoopMiddleware`. Then `environ["async.loop"]` holds the worker thread's
`AsyncioLoopManager`, and `environ["async.scope"]` the request's `RequestScope`.
"""

from .core import (
    AsyncioLoopManager,
    CallerNotFound,
    LoopNotFound,
    LoopResource,
    LoopThreadPoolExecutor,
    ManagerNotFound,
    ManagerStateError,
    OutsideRequestError,
    RunningLoopError,
    SyncFuture,
    TaskCancelledError,
    UnknownAsyncTaskError,
    WaitTimeoutError,
    WsgiAsyncError,
    async_to_sync,
    async_to_sync_future,
    current_manager,
    get_or_create_loop_manager,
    get_parent_thread,
    loop_resource,
    run,
    run_in_calling_thread,
)
from .core.jobs.bridge import plugins as _plugins
from .insight import switches as _switches
from .middleware import AsyncLoopMiddleware, loop_from, scope_from
from .scopes import RequestScope

__version__ = "0.2.0"

__all__ = [
    "AsyncLoopMiddleware",
    "AsyncioLoopManager",
    "CallerNotFound",
    "LoopNotFound",
    "LoopResource",
    "LoopThreadPoolExecutor",
    "ManagerNotFound",
    "ManagerStateError",
    "OutsideRequestError",
    "RequestScope",
    "RunningLoopError",
    "SyncFuture",
    "TaskCancelledError",
    "UnknownAsyncTaskError",
    "WaitTimeoutError",
    "WsgiAsyncError",
    "async_to_sync",
    "async_to_sync_future",
    "current_manager",
    "get_or_create_loop_manager",
    "get_parent_thread",
    "loop_from",
    "loop_resource",
    "run",
    "run_in_calling_thread",
    "scope_from",
]

# The core loads the plug-in once `asgiref.local` is imported, alone or by the rest of asgiref.
_plugins["asgiref.local"] = "wsgi_async.bridges.asgiref.plugin"

_switches.install()
