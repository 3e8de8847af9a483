"""Which view has which path, and the handlers of errors."""

from __future__ import annotations

import asyncio
from typing import Any

from django.http import HttpResponse
from django.urls import path

from . import receivers, streams, views

__all__ = ["handler404", "handler500", "receivers", "urlpatterns"]

urlpatterns = [
    path("where", views.where),
    path("class", views.ByClass.as_view()),
    path("sync", views.sync_where),
    path("entries", views.entries),
    path("texts", views.texts),
    path("rolled-back", views.rolled_back),
    path("rolled-back-inside", views.rolled_back_inside),
    path("atomic-error", views.atomic_error),
    path("write", views.write),
    path("free-write", views.free_write),
    path("beside", views.beside),
    path("background", views.background),
    path("connections", views.count_connections),
    path("cache", views.cache_client),
    path("language", views.language),
    path("fail", views.fail),
    path("late", views.late),
    path("divide", views.divide),
    path("signals", receivers.seen),
    path("stream", streams.stream),
    path("rows", streams.rows),
    path("sync-view-stream", streams.from_sync_view),
    path("broken-stream", streams.broken),
    path("release", streams.release),
]


async def handler404(request: Any, exception: Exception) -> HttpResponse:
    """Where it runs, and that it can await."""
    await asyncio.sleep(0)
    return HttpResponse(f"404 on {id(asyncio.get_running_loop())}", status=404)


async def handler500(request: Any) -> HttpResponse:
    """As above."""
    await asyncio.sleep(0)
    return HttpResponse(f"500 on {id(asyncio.get_running_loop())}", status=500)
