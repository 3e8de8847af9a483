"""What the hosts serve, and what their queue workers do, with the data on a third host."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from celery import Celery, current_task
from flask import Flask
from psycopg_pool import AsyncConnectionPool

from wsgi_async import loop_resource, run
from wsgi_async.integrations import celery as on_celery
from wsgi_async.integrations.celery import CeleryRoute
from wsgi_async.integrations.flask import AsyncLoop
from wsgi_async.routing import async_task

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

HOST = os.environ["HOST_NAME"]

celery = Celery("hosts", broker=os.environ["REDIS"])
celery.conf.update(
    broker_connection_retry_on_startup=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
    broker_transport_options={
        # Seconds after which another worker gets what a worker has not acknowledged. Longer than
        # any task takes, unless its worker has ended.
        "visibility_timeout": 10,
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
    },
)
on_celery.AsyncLoop(celery)

app = Flask(__name__)
AsyncLoop(
    app, routes={"notes": CeleryRoute(celery, queue="notes", task_options={"acks_late": True})}
)


@loop_resource
async def database() -> AsyncIterator[AsyncConnectionPool]:
    async with AsyncConnectionPool(os.environ["POSTGRES"], min_size=1, max_size=1) as pool:
        yield pool


async def write(table: str, text: str) -> None:
    async with (await database()).connection() as db:
        await db.execute(f"INSERT INTO {table} VALUES (%s, %s)".encode(), (text, HOST))


@async_task("notes")
async def note() -> None:
    """Notes that it was done. The acknowledgement comes a little later."""
    await write("done", current_task.request.id)
    await asyncio.sleep(0.02)


@async_task("notes")
async def note_elsewhere(victim: str) -> None:
    """The same, but on one host it never ends."""
    await write("begun", current_task.request.id)
    if victim == HOST:
        await asyncio.Event().wait()
    await write("done", current_task.request.id)


@app.get("/job/<int:number>")
def work(number: int) -> str:
    """Some async work, and some for the queue; which host has done which."""
    run(write("asked", str(number)))
    return f"{HOST} {number} {note.submit().id}"


@app.get("/busy")
def busy() -> tuple[str, int]:
    return "not now", 503


@app.get("/hold/<victim>")
def hold(victim: str) -> str:
    return f"{note_elsewhere.submit(victim).id}"
