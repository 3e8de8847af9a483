"""asgiref's `Local` in a coroutine that runs on another thread than its caller.

A `Local` keeps its values in the context, marked with the thread that set them, and shows nothing
of another thread's. Where we take a context to another thread on purpose, we mark them anew, as
asgiref does where it does so. Nothing here imports asgiref.
"""

from __future__ import annotations

import contextvars
import sys
import threading
from typing import Any

__all__ = ["differ", "is_local", "move_here", "moved_here"]


def is_local(value: Any) -> bool:
    """Whether a context variable's value is what a `Local` keeps there, marked with a thread."""
    return type(value).__module__ == "asgiref.local" and hasattr(value, "thread_id")


def moved_here(value: Any) -> Any:
    """The same values, marked with the current thread."""
    return type(value)(threading.get_ident(), value.data)


def differ(value: Any, old: object) -> bool:
    """Whether two of them have different values, whatever their threads."""
    return getattr(old, "data", None) is not value.data


def move_here(context: contextvars.Context) -> None:
    """Have all `Local`s of a context show in the current thread what they hold.

    Raises:
        RuntimeError: The context is entered.
    """
    if "asgiref.local" in sys.modules:
        context.run(_move_present)


def _move_present() -> None:
    me = threading.get_ident()
    for variable, value in contextvars.copy_context().items():
        if is_local(value) and value.thread_id != me:
            variable.set(moved_here(value))
