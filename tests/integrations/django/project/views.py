"""Views that say which thread, loop and connection they and their queries have."""

from __future__ import annotations

import asyncio
from threading import get_ident
from typing import Any

from asgiref.sync import async_to_sync, sync_to_async
from django.core.cache import caches
from django.db import connections, transaction
from django.db.backends.signals import connection_created
from django.dispatch import receiver
from django.http import HttpResponse, JsonResponse
from django.utils import translation
from django.views import View

from wsgi_async import loop_from, scope_from

from .models import Entry

_created: list[int] = []


@receiver(connection_created)
def _count(**_: Any) -> None:
    _created.append(get_ident())


def _connection() -> int:
    return id(connections["default"])


async def _facts(request: Any) -> dict[str, Any]:
    """Taken after an await, and with a query before."""
    before = get_ident()
    await Entry.objects.acount()
    await asyncio.sleep(0)
    loop = asyncio.get_running_loop()
    return {
        "stepped_by": sorted({before, get_ident()}),
        "worker": request.worker,
        "orm": await sync_to_async(get_ident)(),
        "connection": request.connection,
        "orm_connection": await sync_to_async(_connection)(),
        "loop": id(loop),
        "is_request_loop": loop is loop_from(request.environ).get_event_loop(),
    }


async def where(request: Any) -> JsonResponse:
    """An async view."""
    return JsonResponse(await _facts(request))


class ByClass(View):
    """An async view that is a class."""

    async def get(self, request: Any) -> JsonResponse:
        """The facts."""
        return JsonResponse(await _facts(request))


def sync_where(request: Any) -> JsonResponse:
    """A sync view that calls async code by each of the ways."""
    ways = [async_to_sync(_facts)(request), loop_from(request.environ).run(_facts(request))]
    return JsonResponse({"ways": ways})


async def entries(request: Any) -> JsonResponse:
    """Every kind of async ORM call."""
    text = request.GET["text"]
    entry = await Entry.objects.acreate(text=text)
    entry.text += "!"
    await entry.asave()
    await entry.arefresh_from_db()
    found = await Entry.objects.aget(pk=entry.pk)
    both = await asyncio.gather(
        Entry.objects.filter(text=found.text).aexists(),
        Entry.objects.filter(text="nobody's").aexists(),
    )
    texts = [each.text async for each in Entry.objects.filter(pk=entry.pk)]
    values = [each async for each in Entry.objects.filter(pk=entry.pk).values_list("text")]
    read = [each.text async for each in Entry.objects.filter(pk=entry.pk).aiterator()]
    await entry.adelete()
    left = await Entry.objects.filter(text=found.text).acount()
    return JsonResponse({"lists": [texts, values, read], "exist": both, "left": left})


def texts(request: Any) -> JsonResponse:
    """What is in the table, as a sync view sees it."""
    return JsonResponse(
        {"texts": list(Entry.objects.order_by("pk").values_list("text", flat=True))}
    )


class _Undo(Exception):
    """Ends a transaction."""


async def _create(*names: str) -> int:
    await asyncio.gather(*(Entry.objects.acreate(text=name) for name in names))
    count: int = await Entry.objects.filter(text__in=names).acount()
    return count


def rolled_back(request: Any) -> JsonResponse:
    """Async ORM calls in a sync view's transaction, which is undone."""
    try:
        with transaction.atomic():
            inside = async_to_sync(_create)("undone 1", "undone 2")
            raise _Undo
    except _Undo:
        return JsonResponse({"inside": inside})


async def rolled_back_inside(request: Any) -> JsonResponse:
    """A transaction in an async view: sync code, which calls async code."""

    def work() -> bool:
        with transaction.atomic():
            async_to_sync(_create)("undone 3")
            transaction.set_rollback(True)
        return bool(Entry.objects.filter(text="undone 3").exists())

    return JsonResponse({"left": await sync_to_async(work)()})


def atomic_error(request: Any) -> HttpResponse:
    """A sync view that writes in async code and fails."""
    assert async_to_sync(_create)("from a view that failed") == 1
    raise RuntimeError("after the write")


async def write(request: Any) -> JsonResponse:
    """An async view as it is."""
    return JsonResponse({"written": await _create("from an async view")})


@transaction.non_atomic_requests
async def free_write(request: Any) -> JsonResponse:
    """An async view that wants no transaction around it."""
    return JsonResponse({"written": await _create("from a free async view")})


async def beside(request: Any) -> JsonResponse:
    """Queries beside other work of the same view."""
    ticks = 0
    done = asyncio.Event()

    async def tick() -> None:
        nonlocal ticks
        while not done.is_set():
            ticks += 1
            await asyncio.sleep(0)

    ticker = asyncio.create_task(tick())
    counts = [await Entry.objects.acount() for _ in range(5)]
    done.set()
    await ticker
    return JsonResponse({"ticks": ticks, "queries": len(counts)})


async def background(request: Any) -> JsonResponse:
    """A query that outlives the request, on asgiref's thread for such."""
    loop_from(request.environ).submit_task(_in_background(request.GET["text"]))
    return JsonResponse({})


async def _in_background(text: str) -> None:
    await Entry.objects.acreate(text=text)
    await sync_to_async(connections.close_all)()


def count_connections(request: Any) -> JsonResponse:
    """How often a connection was opened, on which threads."""
    Entry.objects.exists()
    return JsonResponse({"created": len(_created), "threads": len(set(_created))})


async def cache_client(request: Any) -> JsonResponse:
    """The cache's client here, and in sync code."""

    def client() -> int:
        return id(caches["default"])

    return JsonResponse({"here": client(), "sync": await sync_to_async(client)(), "t": get_ident()})


async def language(request: Any) -> JsonResponse:
    """What language the middleware has found; sets another."""
    found = translation.get_language()
    translation.activate("de")
    return JsonResponse({"found": found})


async def fail(request: Any) -> None:
    """An error that nobody handles."""
    raise RuntimeError("of the view")


def late(request: Any) -> None:
    """A view that uses up its time."""
    scope_from(request).timeout(0.01)
    loop_from(request).run(asyncio.sleep(60))


async def divide(request: Any) -> None:
    """An error for `process_exception`."""
    raise ZeroDivisionError
