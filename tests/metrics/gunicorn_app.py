"""An app whose loops are counted, and which shows the numbers of all workers."""

from __future__ import annotations

import asyncio
import os
import struct
from typing import TYPE_CHECKING

import prometheus_client
from prometheus_client import multiprocess

from wsgi_async import AsyncLoopMiddleware, loop_from
from wsgi_async.metrics import start_metrics

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

start_metrics()


async def nothing() -> None:
    pass


def shown() -> bytes:
    registry = prometheus_client.CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)
    while True:
        try:
            return prometheus_client.generate_latest(registry)
        except struct.error:
            pass  # it has found a file that another worker has just created, and not filled yet


def view(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    loop = loop_from(environ)
    body = str(os.getpid()).encode()
    if environ["PATH_INFO"] == "/metrics":
        body = shown()
    elif environ["PATH_INFO"] == "/task":
        loop.submit_task(asyncio.sleep(600))
    else:
        loop.run(nothing())
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


app = AsyncLoopMiddleware(view, per="process")
