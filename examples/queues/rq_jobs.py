"""RQ: jobs that call async code on one loop, which lives as long as the worker.

Install it, enqueue jobs, and start the worker in this folder; Ctrl-C ends it::

    pip install '../..' rq
    python rq_jobs.py 1 2 3
    rq worker --worker-class rq.SimpleWorker
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING

from redis import Redis
from rq import Queue

from wsgi_async import loop_resource, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@loop_resource
async def client() -> AsyncIterator[str]:
    print("client opened", flush=True)  # in a real program: an HTTP client, a pool
    yield "client"
    print("client closed", flush=True)


async def ask(product: int) -> str:
    opened = await client()  # opened by the first job, the same one in all others
    await asyncio.sleep(0.01)
    return f"price of {product} asked with the {opened}"


def price(product: int) -> str:
    # Not `async def`: RQ would run that by `asyncio.run()`, on another loop for each job.
    answer = run(ask(product))
    print(answer, flush=True)
    return answer


if __name__ == "__main__":
    with Redis.from_url(os.environ.get("RQ_REDIS_URL", "redis://")) as redis:
        for number in sys.argv[1:]:
            # By its name: as a function of this module, the worker would not find it.
            Queue(connection=redis).enqueue("rq_jobs.price", int(number), job_timeout=60)
