"""Django Tasks, of Django 6.0 and later: a backend without a queue, and a route for task types.

`LoopBackend` runs tasks in this process::

    TASKS = {"default": {"BACKEND": "wsgi_async.integrations.django.tasks.LoopBackend"}}

`DjangoRoute` sends the functions of a task type to a backend::

    set_routes({"mail": DjangoRoute()})
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .backend import LoopBackend
    from .route import DjangoRoute, run_routed

__all__ = ["DjangoRoute", "LoopBackend", "run_routed"]

_MODULES = {"DjangoRoute": "route", "LoopBackend": "backend", "run_routed": "route"}


def __getattr__(name: str) -> Any:
    # Not at import: unittest's discovery imports all packages of a project, even under a Django
    # without tasks.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
