"""Async functions with a task type, and routes that decide where each type runs.

Decorate a function once, and say in one place where its type runs::

    from wsgi_async.routing import async_task, set_routes

    @async_task("mail")
    async def send(to: str) -> None: ...

    set_routes({"mail": "thread"})
    send.submit("ann@example.com")    # in the background, where the route of "mail" leads
    await send("ann@example.com")     # here, as the function that it is

When the work outgrows the process, change the route to a queue, for example `CeleryRoute` of
`wsgi_async.integrations.celery`. The function and its callers stay as they are.
"""

from .routes import AnyRoute, Manager, override_routes, set_routes
from .tasks import AsyncTask, Route, RouteNotFound, async_task

__all__ = [
    "AnyRoute",
    "AsyncTask",
    "Manager",
    "Route",
    "RouteNotFound",
    "async_task",
    "override_routes",
    "set_routes",
]
