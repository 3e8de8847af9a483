"""Copying context variables back from a coroutine to its caller."""

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
    """Set in the current context the variables that a coroutine has set in its own.

    Args:
        source: The context that the coroutine ran in.
        before: A copy from before the run; None if `source` began as a copy of the current one.
        inner: The caller is sync code that another coroutine on the same loop has called.
    """
    plugin = bridge.active
    for variable, value in source.items():
        old = variable.get(_MISSING) if before is None else before.get(variable, _MISSING)
        if value is old or variable is current_caller:
            continue
        if plugin is not None:
            # The plug-in adapts the value to this thread.
            value = plugin.value_back(variable, value, old, inner=inner)  # noqa: PLW2901
        if value is not old:
            variable.set(value)
