"""django-async-backend: close a task's connections when the task has done its work.

A connection of that package belongs to one asyncio task, which has to close it or return it to its
pool. The package's README says to do this in a middleware. But under WSGI, a middleware and the
view run in different tasks, with sync code between them.
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
    """The function that closes the running task's connections; None without the package.

    Releases before 6.1 have no such function, but they have a middleware for it.
    """
    if not apps.is_installed(_APP):
        return None
    close: Close | None = getattr(import_module(f"{_APP}.db"), "close_old_async_connections", None)
    return close


def closing(view: View, close: Close) -> View:
    """Wrap a view so that its connections are closed in its own task when it ends."""

    async def view_and_close(*args: Any, **kwargs: Any) -> Any:
        try:
            return await view(*args, **kwargs)
        finally:
            await close()

    return view_and_close
