"""Django in one file: an async view, a sync view that calls async code, and a stream.

Install and run it, in this folder::

    pip install '..[django,gunicorn]'
    gunicorn --threads 4 django_app:application

Then open http://127.0.0.1:8000/, http://127.0.0.1:8000/sync and http://127.0.0.1:8000/stream.
"""

import asyncio
from collections.abc import AsyncIterator

from django.conf import settings
from django.http import HttpRequest, JsonResponse, StreamingHttpResponse
from django.urls import path

from wsgi_async import run
from wsgi_async.integrations.django import get_wsgi_application

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["127.0.0.1", "localhost"])


async def ask(name: str) -> str:
    await asyncio.sleep(0.1)  # in a real app: httpx, redis, any async SDK
    return f"{name} answered"


async def index(request: HttpRequest) -> JsonResponse:
    answers = await asyncio.gather(ask("one"), ask("two"))  # both at the same time
    return JsonResponse({"answers": answers})


def sync_index(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"answers": [run(ask("one"))]})  # blocks this thread meanwhile


async def lines() -> AsyncIterator[str]:
    for name in ("one", "two", "three"):
        yield await ask(name) + "\n"


async def stream(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(lines(), content_type="text/plain")  # sent line by line


urlpatterns = [path("", index), path("sync", sync_index), path("stream", stream)]
application = get_wsgi_application(timeout=30)  # seconds that a request may wait for async code
