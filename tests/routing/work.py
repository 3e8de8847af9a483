"""Async functions with task types, in a module that a queue's worker can import."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from typing import TYPE_CHECKING, Any

from wsgi_async import current_manager, loop_resource
from wsgi_async.core.base.deadlines import bounded
from wsgi_async.routing import async_task

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

who: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")
opened = 0


@loop_resource
async def client() -> AsyncIterator[int]:
    global opened
    opened += 1
    yield opened


@async_task("mail")
async def double(number: int, *, plus: int = 0) -> int:
    """Twice the number."""
    await asyncio.sleep(0)
    return 2 * number + plus


@async_task("mail")
async def fail() -> None:
    raise LookupError("nothing there")


@async_task("mail")
async def about_itself() -> dict[str, Any]:
    """What a function sees of where it runs."""
    loop = asyncio.get_running_loop()
    return {
        "loop": id(loop),
        "current": current_manager().get_event_loop() is loop,
        "client": await client(),
        "who": who.get(),
        "deadline": bounded(None),
        "thread": threading.current_thread().name,
    }


@async_task("image")
async def resize(name: str) -> str:
    return f"{name}, resized"
