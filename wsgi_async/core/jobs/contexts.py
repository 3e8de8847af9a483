"""Context variables on their way back from a coroutine to its caller."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import bridge
from .job import current_caller

if TYPE_CHECKING:
    import contextvars

__all__ = ["copy_changes"]

_MISSING: Any = object()


def copy_changes(
    source: contextvars.Context, before: contextvars.Context | None, *, inner: bool
) -> None:
    """Set in the current context what a coroutine has set in its own.

    Args:
        source: The context that the coroutine ran in.
        before: The same before it ran; None if it was a copy of the current one.
        inner: Another coroutine on the same loop has called the sync code that called it.
    """
    plugin = bridge.active
    for variable, value in source.items():
        old = variable.get(_MISSING) if before is None else before.get(variable, _MISSING)
        if value is old or variable is current_caller:
            continue
        if plugin is not None:
            # The same, for this thread.
            value = plugin.value_back(variable, value, old, inner=inner)  # noqa: PLW2901
        if value is not old:
            variable.set(value)
