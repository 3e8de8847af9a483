"""dramatiq: actors that call async code on one loop, which lives as long as the worker process.

Install it, send messages, and start the worker in this folder; Ctrl-C ends it::

    pip install '../..' 'dramatiq[redis]'
    python dramatiq_actors.py 1 2 3
    dramatiq dramatiq_actors
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from wsgi_async import AsyncioLoopManager, loop_resource, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class OneLoop(dramatiq.Middleware):
    """One loop for all threads of a worker process, which they find when they call `run()`."""

    def before_worker_boot(self, *_: object) -> None:
        self.manager = AsyncioLoopManager()  # here, because worker processes are forked before
        self.manager.start()

    def after_worker_shutdown(self, *_: object) -> None:
        self.manager.stop()


broker = RedisBroker(url=os.environ.get("REDIS_URL", "redis://"))
broker.add_middleware(OneLoop())
dramatiq.set_broker(broker)


@loop_resource
async def client() -> AsyncIterator[str]:
    print("client opened", flush=True)  # in a real program: an HTTP client, a pool
    yield "client"
    print("client closed", flush=True)


async def ask(product: int) -> None:
    opened = await client()  # opened by the first message, the same one in all others
    await asyncio.sleep(0.01)
    print(f"price of {product} asked with the {opened}", flush=True)


@dramatiq.actor(max_retries=3)
def price(product: int) -> None:
    run(ask(product), timeout=60)  # dramatiq's time_limit cannot interrupt a thread that waits


if __name__ == "__main__":
    for number in sys.argv[1:]:
        price.send(int(number))
