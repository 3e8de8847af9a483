"""APScheduler: jobs that call async code on one loop, which lives as long as the scheduler.

Install and run it, in this folder; Ctrl-C ends it::

    pip install '../..' 'apscheduler<4'
    python apscheduler_jobs.py
"""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

from apscheduler.schedulers.blocking import BlockingScheduler

from wsgi_async import AsyncioLoopManager, loop_resource, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@loop_resource
async def client() -> AsyncIterator[str]:
    print("client opened", flush=True)  # in a real program: an HTTP client, a pool
    yield "client"
    print("client closed", flush=True)


async def send(name: str) -> None:
    opened = await client()  # opened by the first job, the same one in all others
    await asyncio.sleep(0.01)
    print(f"{name} sent with the {opened}", flush=True)


def report(name: str) -> None:
    run(send(name), timeout=10)


if __name__ == "__main__":
    scheduler = BlockingScheduler()
    scheduler.add_job(report, "interval", ["report"], seconds=0.2)
    scheduler.add_job(report, "interval", ["backup"], seconds=0.3)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends it as Ctrl-C does
    with AsyncioLoopManager():  # all threads of the scheduler find it
        try:
            scheduler.start()
        except KeyboardInterrupt:
            scheduler.shutdown()  # waits for jobs under way; then the loop and its client close
