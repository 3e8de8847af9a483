"""Async views for the integration that query the database, call another server, or both at once.

The port to call, how long that server takes and how long the query takes, in milliseconds, are in
the query string.
"""
# Django has no types, and what is guessed of them is wrong.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx2
from django.http import HttpRequest, HttpResponse
from django.urls import path

from benchmarks.django_project.models import Fact, Pause
from wsgi_async import loop_resource


@loop_resource
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    """Keep a client, with its connections, for each loop."""
    async with httpx2.AsyncClient() as opened:
        yield opened


async def text_from_database(request: HttpRequest) -> str:
    """Make one query."""
    milliseconds = request.GET.get("query_ms")
    if milliseconds is None:
        fact = await Fact.objects.aget(pk=1)
    else:
        # A filter, so that nothing but the query itself takes longer.
        fact = await Fact.objects.alias(paused=Pause(int(milliseconds))).aget(pk=1, paused=1)
    return str(fact)


async def text_from_server(request: HttpRequest) -> str:
    """Make one HTTP call."""
    port, milliseconds = request.GET["port"], request.GET["http_ms"]
    answer = await (await client()).get(f"http://127.0.0.1:{port}/{milliseconds}")
    return answer.raise_for_status().text


async def query(request: HttpRequest) -> HttpResponse:
    """Nothing but a query."""
    return HttpResponse(await text_from_database(request))


async def http(request: HttpRequest) -> HttpResponse:
    """Nothing but an HTTP call."""
    return HttpResponse(await text_from_server(request))


async def both(request: HttpRequest) -> HttpResponse:
    """A query beside an HTTP call."""
    texts = await asyncio.gather(text_from_database(request), text_from_server(request))
    (text,) = set(texts)
    return HttpResponse(text)


urlpatterns = [
    path("query", query),
    path("http", http),
    path("both", both),
]
