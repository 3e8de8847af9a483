"""A Celery app with async tasks, for real workers; the broker comes by the environment."""

from __future__ import annotations

import asyncio
import json
import os
import time
from typing import TYPE_CHECKING, Any

from celery import Celery, current_task, shared_task
from celery.exceptions import SoftTimeLimitExceeded

import wsgi_async
from tests.celery import routed
from wsgi_async import current_manager, loop_resource
from wsgi_async.integrations.celery import AsyncLoop, CeleryRoute
from wsgi_async.routing import set_routes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

app = Celery(
    "tests.celery.tasks",
    broker=os.environ.get("BROKER"),
    backend=os.environ.get("BACKEND"),
    include=["tests.celery.noted"],
)
app.conf.update(
    broker_connection_retry_on_startup=True,
    broker_transport_options={
        "polling_interval": 0.05,
        **json.loads(os.environ.get("TRANSPORT", "{}")),
    },
    task_acks_late=True,
    worker_prefetch_multiplier=1,
    result_expires=60,
)
opened = 0


def say(line: str) -> None:
    print(line, flush=True)


AsyncLoop(app, grace=2, on_start=lambda: say("loop started"), on_stop=lambda: say("loop stopping"))
retrying = {"autoretry_for": (OSError,), "default_retry_delay": 0}
set_routes({routed.double.task_type: CeleryRoute(app, task_options=retrying)})


@loop_resource
async def client() -> AsyncIterator[int]:
    """Stands for a client with a pool."""
    global opened
    opened += 1
    yield opened
    say("client closed")


async def where() -> tuple[int, int, int]:
    return os.getpid(), id(asyncio.get_running_loop()), await client()


@app.task
async def look() -> tuple[int, int, int]:
    """Where it runs, and how often the client was opened there."""
    return await where()


@app.task
def look_from_sync() -> tuple[int, int, int]:
    """A sync task that calls async code."""
    return wsgi_async.run(where())


@shared_task
async def shared() -> int:
    return (await where())[2]


class Looking(app.Task):  # type: ignore[name-defined]
    """A task that is a class."""

    name = "looking"

    async def run(self) -> int:
        return (await where())[2]


app.register_task(Looking())


@app.task(bind=True)
async def about_itself(self: Any) -> list[Any]:
    """What Celery's present request and task are, before and after a wait."""
    before = self.request.id
    await asyncio.sleep(0.01)
    return [before, self.request.id, current_task.name, self.request.called_directly]


@app.task(bind=True, max_retries=3)
async def retried(self: Any) -> int:
    await asyncio.sleep(0)
    if self.request.retries < 2:
        raise self.retry(countdown=0)
    return int(self.request.retries)


@app.task(bind=True, autoretry_for=(LookupError,), retry_backoff=False, default_retry_delay=0)
async def retried_by_itself(self: Any) -> int:
    await asyncio.sleep(0)
    if self.request.retries < 2:
        raise LookupError("not yet")
    return int(self.request.retries)


@app.task
async def failing() -> None:
    await asyncio.sleep(0)
    raise LookupError("nothing there")


@app.task(soft_time_limit=1, time_limit=10)
async def slow() -> str:
    """Longer than its limit."""
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        await asyncio.sleep(0.01)
        say("slow cleaned up")
        raise
    return "done"


@app.task(soft_time_limit=1, time_limit=10)
def slow_and_caught() -> str:
    """A sync task that catches its limit, as in Celery's manual."""
    try:
        wsgi_async.run(asyncio.sleep(60))
    except SoftTimeLimitExceeded:
        return "caught"
    return "done"


@app.task
async def endless() -> None:
    say("endless begun")
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0.01)
        say("endless cleaned up")


@app.task
async def begin_in_background() -> None:
    """A task of asyncio's that lives on after Celery's."""

    async def tick() -> None:
        await asyncio.sleep(0.2)
        say("background done")

    current_manager().submit_task(tick())


@app.task
async def add(number: int) -> int:
    """For many at once."""
    await asyncio.sleep(0.005)
    return number + 1


@app.task
def block_beside(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()
