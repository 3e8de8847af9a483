"""Async receivers of Django's own signals."""

from __future__ import annotations

import asyncio
from typing import Any

from django.core.signals import request_finished, request_started
from django.dispatch import receiver
from django.http import HttpRequest, JsonResponse

_seen: list[tuple[str, int]] = []


@receiver(request_started)
async def started(**_: Any) -> None:
    """Note the loop."""
    await asyncio.sleep(0)
    _seen.append(("started", id(asyncio.get_running_loop())))


@receiver(request_finished)
async def finished(**_: Any) -> None:
    """Note the loop."""
    await asyncio.sleep(0)
    _seen.append(("finished", id(asyncio.get_running_loop())))


async def seen(request: HttpRequest) -> JsonResponse:
    """What they have noted up to now, and the loop here."""
    return JsonResponse({"seen": _seen, "loop": id(asyncio.get_running_loop())})
