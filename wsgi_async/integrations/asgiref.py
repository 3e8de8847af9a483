"""asgiref: `async_to_sync` on a loop that stays open, for the whole process.

This also affects libraries that call asgiref's `async_to_sync`, such as Django, Flask and Channels.
Call `install()` once, where you create the application::

    from wsgi_async.integrations import asgiref

    asgiref.install()

Sync code below a coroutine of an ASGI server still uses the server's loop.
"""

from __future__ import annotations

from typing import Any

from asgiref import sync

from wsgi_async.core.base.primitives import new_mutex
from wsgi_async.core.jobs import bridge
from wsgi_async.core.managers.async_to_sync import call_async

__all__ = ["install", "installed", "uninstall"]

_kind: Any = sync.AsyncToSync
_own = _kind.__call__
_lock = new_mutex()  # guards replacing the method and writing to the list
_present: list[_Replacement] = []  # the replacement that is installed, if any


class _Replacement:
    """Our replacement of a method, from `install()` to `uninstall()`.

    Another library may replace the method as well, for example an agent that traces calls.
    `uninstall()` restores the method that we have replaced. If the method has been replaced again
    since, it stays, and ours below only calls the original while no replacement is installed.
    """

    def __init__(self, original: Any) -> None:
        self.original = original

        def call(this: sync.AsyncToSync[Any, Any], *args: Any, **kwargs: Any) -> Any:
            __traceback_hide__ = True  # asgiref's mark for frames that a debugger need not show
            if not _present:
                return original(this, *args, **kwargs)
            return call_async(this.awaitable, args, kwargs, force_new_loop=this.force_new_loop)

        self.method = call


def install() -> None:
    """Let all of asgiref's `async_to_sync` objects use the thread's own loop.

    It replaces one method of asgiref's class, so objects that exist already are affected too. A
    second call does nothing. Any thread may call it.
    """
    bridge.look()  # its own wrapper of asgiref's method must be below ours
    with _lock:
        if not (_present and _kind.__call__ is _present[0].method):
            replacement = _Replacement(_kind.__call__)
            _present[:] = [replacement]
            _kind.__call__ = replacement.method


def uninstall() -> None:
    """Restore asgiref's own method. Running calls continue. Any thread may call it.

    If another library has replaced the method since, its version stays and calls asgiref's.
    """
    with _lock:
        if _present and _kind.__call__ is _present[0].method:
            _kind.__call__ = _present[0].original
        _present.clear()


def installed() -> bool:
    """Whether asgiref's objects use the thread's own loop now."""
    with _lock:
        return any(_kind.__call__ not in (one.original, _own) for one in _present)
