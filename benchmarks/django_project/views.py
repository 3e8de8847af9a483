"""An async view that awaits: the same for Django's own handler and for the integration's."""
# Django has no types, and what is guessed of them is wrong.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false

from __future__ import annotations

import asyncio

from django.http import HttpRequest, HttpResponse
from django.urls import path

from benchmarks.django_project.models import Fact


async def awaits(_: HttpRequest) -> HttpResponse:
    """One query, and three awaits at once."""
    fact = await Fact.objects.aget(pk=1)
    await asyncio.gather(asyncio.sleep(0), asyncio.sleep(0), asyncio.sleep(0))
    return HttpResponse(str(fact))


urlpatterns = [path("awaits", awaits)]
