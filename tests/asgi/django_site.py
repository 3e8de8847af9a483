"""A Django project under ASGI, in one module: sync views that run async code."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.http import JsonResponse
from django.urls import path

if TYPE_CHECKING:
    from django.http import HttpRequest

DEBUG = True
SECRET_KEY = "of the tests"
ROOT_URLCONF = __name__
USE_TZ = True


def sync_view(request: HttpRequest) -> JsonResponse:
    """A sync view whose coroutine calls sync code, which belongs into the view's thread."""
    import threading

    import wsgi_async
    from wsgi_async import loop_from

    async def there() -> tuple[int, int]:
        ident = await sync_to_async(threading.get_ident)()
        return id(asyncio.get_running_loop()), ident

    first = loop_from(request).run(there())
    return JsonResponse(
        {
            "loops": [first[0], wsgi_async.run(there())[0]],
            "same thread": first[1] == threading.get_ident(),
        }
    )


async def async_view(request: HttpRequest) -> JsonResponse:
    """The server's own loop."""
    return JsonResponse({"loop": id(asyncio.get_running_loop())})


urlpatterns = [path("sync", sync_view), path("async", async_view)]


def __getattr__(name: str) -> Any:
    # Later than the settings, which Django reads from this module first.
    if name != "application":
        raise AttributeError(name)
    from django.core.asgi import get_asgi_application

    from wsgi_async.asgi import AsyncLoopMiddleware

    globals()[name] = made = AsyncLoopMiddleware(get_asgi_application())
    return made
