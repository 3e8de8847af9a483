"""A Celery app whose tasks make one HTTP call each: with a client that is kept, or one per task.

The worker finds its Redis and the address to call in the environment.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

import httpx2
from celery import Celery

from benchmarks.queues.celery_tasks import APP, CALLED, GATE, REDIS
from wsgi_async import loop_resource
from wsgi_async.integrations.celery import AsyncLoop

redis_url = os.environ.get(REDIS)
app: Any = Celery(APP, broker=redis_url, backend=redis_url)
AsyncLoop(app)

tls = httpx2.create_ssl_context()
"""Made once: it takes most of the time that making a client takes."""


@loop_resource
async def kept_client() -> AsyncIterator[httpx2.AsyncClient]:
    """Keep a client, with its connections, for each loop."""
    async with httpx2.AsyncClient() as client:
        yield client


async def ask(client: httpx2.AsyncClient) -> str:
    """Make the call."""
    answer = await client.get(os.environ[CALLED])
    return answer.raise_for_status().text


async def ask_with_new() -> str:
    """Make it with a client that lives as long, the same as the one that is kept."""
    async with httpx2.AsyncClient() as client:
        return await ask(client)


async def ask_with_cheap() -> str:
    """Make it with a client that lives as long, as cheap as it can be had."""
    async with httpx2.AsyncClient(verify=tls, trust_env=False) as client:
        return await ask(client)


@app.task
async def ours() -> str:
    """Call on the loop of the worker's process, which has kept its client."""
    return await ask(await kept_client())


@app.task
def asyncio_run() -> str:
    """Make a loop and a client for each task."""
    return asyncio.run(ask_with_new())


@app.task
def shared_tls() -> str:
    """Do the same with what a client and its like on another loop can share."""
    return asyncio.run(ask_with_cheap())


@app.task(ignore_result=True)
def wait() -> None:
    """Hold the worker until the tasks are sent, so that it is not measured how fast that goes."""
    app.backend.client.blpop(GATE)
