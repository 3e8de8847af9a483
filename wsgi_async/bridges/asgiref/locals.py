"""asgiref's `Local` in a coroutine that runs on another thread than its caller.

A `Local` keeps its values in the context, marked with the thread that set them, and hides the
values of other threads. If we take a context to another thread on purpose, we mark the values anew,
as asgiref does in the same case. A thread-critical `Local` is never passed from call to call.
"""

from __future__ import annotations

import contextvars
import sys
import threading
from typing import Any

__all__ = ["forget_critical", "move_here", "value_back", "watch_critical"]


def move_here(context: contextvars.Context) -> None:
    """Make all `Local`s of a context show their values in the current thread.

    Raises:
        RuntimeError: The context is entered.
    """
    context.run(_move_present)


def _move_present() -> None:
    me = threading.get_ident()
    for variable, value in contextvars.copy_context().items():
        if _is_local(value) and value.thread_id != me:
            variable.set(_moved_here(value))


def value_back(variable: contextvars.ContextVar[Any], value: Any, old: Any, *, inner: bool) -> Any:
    """The value that the current thread sees; `old` if the variable stays as it was."""
    if not inner and variable in _critical:
        return old
    # Marked with another thread: the one that the coroutine runs on.
    if _is_local(value) and value.thread_id != threading.get_ident():
        return old if getattr(old, "data", None) is value.data else _moved_here(value)
    return value


def _is_local(value: Any) -> bool:
    """Whether a context variable's value was stored by a `Local`, marked with a thread."""
    return type(value).__module__ == "asgiref.local" and hasattr(value, "thread_id")


def _moved_here(value: Any) -> Any:
    """The same values, marked with the current thread."""
    return type(value)(threading.get_ident(), value.data)


# The variables that thread-critical Locals have made, each with its thread. Single operations on a
# dict are thread-safe.
_critical: dict[contextvars.ContextVar[Any], int] = {}


def watch_critical() -> None:
    """From now on, record in which variables thread-critical `Local`s keep their values."""
    module = sys.modules.get("asgiref.local")
    kind: Any = getattr(module, "_ThreadCriticalLocal", None)
    variables: Any = getattr(module, "_CVar", None)
    if kind is None or variables is None:
        return  # pragma: no cover - an asgiref before 3.13 only
    original = kind._get_storage  # noqa: SLF001 - there is no public way

    def get_storage(self: Any) -> Any:
        storage = original(self)
        if type(storage) is variables:
            _critical.setdefault(object.__getattribute__(storage, "_data"), threading.get_ident())
        return storage

    kind._get_storage = get_storage  # noqa: SLF001


def forget_critical() -> None:
    """Forget the variables of this thread, because its loop is being closed. Called on the loop."""
    me = threading.get_ident()
    for variable, thread in list(_critical.items()):
        if thread == me:
            _critical.pop(variable, None)
