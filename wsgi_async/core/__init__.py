"""The core: event loops for threads. Knows nothing of WSGI.

Importing it wraps `threading.Thread.start` and registers a fork hook and an exit hook; that is
all it does by itself.
"""

from .converting import async_to_sync
from .errors import ManagerNotFound, UnknownAsyncTaskError
from .futures import SyncFuture
from .lineage import get_parent_thread, wrap_thread_start
from .manager import AsyncioLoopManager
from .process import install_hooks
from .registry import get_or_create_loop_manager
from .resources import LoopResource, loop_resource
from .wrapping import async_to_sync_future

__all__ = [
    "AsyncioLoopManager",
    "LoopResource",
    "ManagerNotFound",
    "SyncFuture",
    "UnknownAsyncTaskError",
    "async_to_sync",
    "async_to_sync_future",
    "get_or_create_loop_manager",
    "get_parent_thread",
    "loop_resource",
]

wrap_thread_start()
install_hooks()
