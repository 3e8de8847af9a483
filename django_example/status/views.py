"""The views: `async def`, each run from start to end on its worker thread's own, living loop.

Queries are made on that very thread and its one connection, and what was opened on the loop (the
HTTP client with its connections) is still open in the next request.
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from functools import partial
from os import getpid

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib import messages
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.views import View
from django.views.decorators.http import require_GET, require_POST, require_safe

from example_app import demo
from example_app.board import Board, board_from, live_board
from example_app.checks import check_all
from example_app.events import board_events, has_gone
from example_app.store import Snapshot
from status.forms import AddressForm
from status.models import Address

places = threading.Semaphore(settings.BOARD.max_streams)  # each stream holds a worker thread


class BoardView(View):
    """The board as the background checker sees it, and the form that adds to it."""

    async def get(self, request: HttpRequest) -> HttpResponse:
        """The page."""
        return _page(request, board_from(await _stored()))

    async def post(self, request: HttpRequest) -> HttpResponse:
        """Put the address from the form on the board."""
        form = AddressForm(request.POST)
        if not await _saved(form):
            return _page(request, board_from(await _stored()), form=form, status=400)
        messages.success(request, form.instance.url, extra_tags="added")
        return redirect("index")


@require_POST
async def remove(request: HttpRequest, address_id: int) -> HttpResponse:
    """Take an address off the board, with its history."""
    try:
        address = await Address.objects.aget(id=address_id)
    except Address.DoesNotExist:
        messages.warning(request, "It had been removed already.")
    else:
        await address.adelete()
        messages.success(request, address.url, extra_tags="removed")
    return redirect("index")


@require_safe
async def check_now(request: HttpRequest) -> HttpResponse:
    """The board, with all addresses checked at the same time in this very request."""
    snapshot = await _stored()
    started = time.perf_counter()
    results = await check_all(snapshot.watched, timeout=settings.BOARD.check_timeout)
    took_ms = (time.perf_counter() - started) * 1000
    return _page(request, live_board(snapshot, results, took_ms))


@require_GET
async def events(request: HttpRequest) -> HttpResponse:
    """What changes on the board, as Server-Sent Events; `board_events` is an async generator."""
    if not places.acquire(blocking=False):
        return HttpResponse(status=204)  # tells an EventSource not to come back by itself
    stream = board_events(
        Address.objects,
        lambda snapshot: _event(request, snapshot),
        seen=request.headers.get("Last-Event-ID") or request.GET.get("seen"),
        checks=settings.BOARD.charted_checks,
        seconds=settings.BOARD.stream_seconds,
        gone=partial(has_gone, request.META),
    )
    return EventStream(stream)


class EventStream(StreamingHttpResponse):
    """A response with a place among the streams, until the server closes it."""

    def __init__(self, events: AsyncIterator[str]) -> None:
        # A proxy is to hand on each event at once.
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(events, content_type="text/event-stream", headers=headers)

    def close(self) -> None:
        """Called by the server once the client has all, or has gone."""
        places.release()
        super().close()


@require_safe
async def api_status(request: HttpRequest) -> HttpResponse:  # noqa: ARG001
    """What the page shows, as JSON."""
    return JsonResponse(board_from(await _stored()).as_json())


@require_safe
async def demo_endpoint(request: HttpRequest, name: str) -> HttpResponse:  # noqa: ARG001
    """One of the board's own endpoints."""
    answer = demo.demo(name)
    if answer is None:
        raise Http404
    await asyncio.sleep(answer.seconds)
    return HttpResponse(answer.text, status=answer.status, content_type="text/plain")


async def _stored() -> Snapshot:
    return await Address.objects.snapshot(checks=settings.BOARD.charted_checks)


@sync_to_async
@transaction.atomic
def _saved(form: AddressForm) -> bool:
    """Look and write in one transaction: nobody else adds the same address in between."""
    if not form.is_valid():
        return False
    form.save()
    return True


def _page(
    request: HttpRequest, board: Board, *, form: AddressForm | None = None, status: int = 200
) -> HttpResponse:
    context = {
        "board": board,
        "form": form or AddressForm(),
        "settings": settings.BOARD,
        "refreshing": "refresh" in request.GET,
        "served_by": f"worker {getpid()}, thread {threading.current_thread().name}",
    }
    return render(request, "status/board.html", context, status=status)


def _event(request: HttpRequest, snapshot: Snapshot) -> str:
    context = {"board": board_from(snapshot), "settings": settings.BOARD}
    return str(render_to_string("status/event.html", context, request))
