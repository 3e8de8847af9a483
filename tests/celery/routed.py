"""Async functions whose task type the worker routes to Celery."""

from __future__ import annotations

import asyncio

from celery import current_task

from wsgi_async.routing import async_task


@async_task("celery")
async def double(number: int, *, plus: int = 0) -> list[int]:
    """Twice the number, and the loop."""
    return [2 * number + plus, id(asyncio.get_running_loop())]


@async_task("celery")
async def retried() -> int:
    """Fails the first time."""
    if not current_task.request.retries:
        raise OSError("once more")
    return int(current_task.request.retries)
