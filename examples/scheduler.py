"""A scheduler: a thread that runs async code every second, on a loop that stays open.

Install and run it, in this folder; Ctrl-C ends it::

    pip install ..
    python scheduler.py

It works in the same way in a job of APScheduler, Celery or cron-like libraries: call `run()`.
"""

import asyncio
import threading
from collections.abc import AsyncIterator

from wsgi_async import loop_resource, run

stopping = threading.Event()


@loop_resource
async def client() -> AsyncIterator[str]:
    print("client opened", flush=True)  # in a real program: an HTTP client, a pool
    yield "client"
    print("client closed", flush=True)


async def report(number: int) -> None:
    opened = await client()  # opened in the first round, the same one in all others
    await asyncio.sleep(0.1)
    print(f"report {number} sent with the {opened}", flush=True)


def work() -> None:
    number = 0
    while not stopping.wait(1):
        number += 1
        run(report(number), timeout=10)


if __name__ == "__main__":
    thread = threading.Thread(target=work)
    thread.start()
    try:
        thread.join()
    except KeyboardInterrupt:
        stopping.set()  # the thread ends after its round, and its loop is closed with it
