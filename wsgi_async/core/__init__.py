"""The core: event loops for threads. Independent of WSGI.

Importing it wraps `threading.Thread.start` and registers a fork hook and an exit hook. It has no
other side effects.
"""

from .base.threads import get_parent_thread, wrap_thread_start
from .jobs.calling_thread import run_in_calling_thread
from .managers.async_to_sync import async_to_sync
from .managers.current import current_manager, run
from .managers.manager import AsyncioLoopManager
from .managers.process import install_hooks
from .managers.registry import get_or_create_loop_manager
from .managers.resources import LoopResource, loop_resource
from .managers.thread_pool import LoopThreadPoolExecutor
from .messages.errors import (
    CallerNotFound,
    LoopNotFound,
    ManagerNotFound,
    ManagerStateError,
    OutsideRequestError,
    RunningLoopError,
    TaskCancelledError,
    UnknownAsyncTaskError,
    WaitTimeoutError,
    WsgiAsyncError,
)
from .results.sync_future import SyncFuture
from .results.wrapped import async_to_sync_future

__all__ = [
    "AsyncioLoopManager",
    "CallerNotFound",
    "LoopNotFound",
    "LoopResource",
    "LoopThreadPoolExecutor",
    "ManagerNotFound",
    "ManagerStateError",
    "OutsideRequestError",
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
    "loop_resource",
    "run",
    "run_in_calling_thread",
]

wrap_thread_start()
install_hooks()
