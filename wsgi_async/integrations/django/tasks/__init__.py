"""Django Tasks, of Django 6.0 and later: a backend without a queue, and a route for task types.

`LoopBackend` runs tasks in this process::

    TASKS = {"default": {"BACKEND": "wsgi_async.integrations.django.tasks.LoopBackend"}}

`DjangoRoute` sends the functions of a task type to a backend::

    set_routes({"mail": DjangoRoute()})
"""

from .backend import LoopBackend
from .route import DjangoRoute, run_routed

__all__ = ["DjangoRoute", "LoopBackend", "run_routed"]
