"""A Django project in one file, whose async ORM is that of django-async-backend."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

from django.core.management import call_command
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path
from django.utils.decorators import async_only_middleware

from wsgi_async.integrations.django import current_loop, get_wsgi_application

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

POOL_SIZE = 3

_, _host, _name = os.environ["DATABASE"].split(":")
_least = int(os.environ.get("POOL", "0"))
_options = {"pool": {"min_size": _least, "max_size": POOL_SIZE, "timeout": 10}}

os.environ["DJANGO_SETTINGS_MODULE"] = __name__
SECRET_KEY = "of no use"  # nothing is signed with it
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = __name__
USE_TZ = True
INSTALLED_APPS = ["django.contrib.contenttypes", "django_async_backend"]
DATABASES = {
    "default": {
        "ENGINE": "django_async_backend.db.backends.postgresql",
        "HOST": _host,
        "NAME": _name,
        "USER": "postgres",
        "OPTIONS": _options if _least else {},
    }
}
MIDDLEWARE = os.environ.get("MIDDLEWARE", "").split()
ASYNC_BACKEND_DISABLE_REQUEST_SIGNALS = not os.environ.get("SIGNALS")
ASYNC_BACKEND_DISABLE_POOL_WARNING = True


async def query() -> int:
    """Use the ORM, a cursor and a transaction; the id of the server's process for them."""
    from django.contrib.contenttypes.models import ContentType
    from django_async_backend.db import async_connections
    from django_async_backend.db.transaction import async_atomic

    connection = async_connections["default"]
    async with async_atomic():
        assert await ContentType.async_objects.acount() > 0
        await asyncio.sleep(0)
        async with await connection.cursor() as cursor:
            await cursor.execute("SELECT pg_backend_pid()")
            (found,) = await cursor.fetchone()
    return int(found)


@async_only_middleware
def queries(get_response: Any) -> Any:
    """Async middleware that uses the database before the view does."""
    from django_async_backend.db import async_new_connection

    async def middleware(request: Any) -> Any:
        async with async_new_connection():
            await query()
        return await get_response(request)

    return middleware


async def view(request: Any) -> JsonResponse:
    """An async view."""
    return JsonResponse([await query()], safe=False)


async def stream(request: Any) -> StreamingHttpResponse:
    """Queries between the items of a stream."""

    async def items() -> AsyncIterator[str]:
        yield f"[{await query()},"
        yield f"{await query()}]"

    return StreamingHttpResponse(items())


def sync_view(request: Any) -> JsonResponse:
    """A sync view that calls async code twice."""
    from django_async_backend.db import async_new_connection

    return JsonResponse(
        [current_loop.run(async_new_connection(query())) for _ in range(2)], safe=False
    )


async def background(request: Any) -> JsonResponse:
    """Queries in the view and, beside it, in a task that outlives the request."""
    from django_async_backend.db import async_new_connection

    future = current_loop.submit_task(async_new_connection(query()))
    found = await query()
    return JsonResponse([found, await future], safe=False)


async def fail(request: Any) -> HttpResponse:
    """An error after a query."""
    await query()
    raise RuntimeError("after the query")


async def pools(request: Any) -> JsonResponse:
    """How large the pools are, and how many connections they have at hand."""
    from django_async_backend.db.backends.postgresql.async_base import AsyncDatabaseWrapper

    stats = [pool.get_stats() for pool in AsyncDatabaseWrapper._connection_pools.values()]
    return JsonResponse([[one["pool_size"], one["pool_available"]] for one in stats], safe=False)


urlpatterns = [
    path("view", view),
    path("stream", stream),
    path("sync", sync_view),
    path("background", background),
    path("fail", fail),
    path("pools", pools),
]

application = get_wsgi_application(per=os.environ["PER"])

call_command("migrate", verbosity=0)  # the tests' database is new
