"""django-async-backend: connections go back when the task that used them has done its work.

A connection of that package belongs to one asyncio task, and closing it, or giving it back to its
pool, is up to that task. Its README says to do this in a middleware, but under WSGI sync code lies
between a middleware's task and the view's.
"""
# Django has no types, and strict mode would complain of each use of it.
# pyright: standard

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from django.apps import apps

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Close = Callable[[], Awaitable[None]]
    View = Callable[..., Awaitable[Any]]

__all__ = ["closing", "find_close"]

_APP = "django_async_backend"


def find_close() -> Close | None:
    """What closes the running task's connections; None where the package is not in use.

    Releases before 6.1 have no such function, but bring a middleware.
    """
    if not apps.is_installed(_APP):
        return None
    close: Close | None = getattr(import_module(f"{_APP}.db"), "close_old_async_connections", None)
    return close


def closing(view: View, close: Close) -> View:
    """The view, with its connections closed in its own task when it has ended."""

    async def view_and_close(*args: Any, **kwargs: Any) -> Any:
        try:
            return await view(*args, **kwargs)
        finally:
            await close()

    return view_and_close
