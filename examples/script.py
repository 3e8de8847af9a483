"""A script: sync code that calls async code, on a loop that stays open between the calls.

Install and run it, in this folder::

    pip install ..
    python script.py
"""

import asyncio
from collections.abc import AsyncIterator

from wsgi_async import AsyncioLoopManager, run


async def load(name: str) -> str:
    await asyncio.sleep(0.1)  # an HTTP call, a query
    return f"{name} loaded"


async def pages() -> AsyncIterator[str]:
    for number in (1, 2, 3):
        yield await load(f"page {number}")


print(run(load("one")))  # like asyncio.run(), but the loop stays open for the next call
print(run(load("two"), timeout=5))

with AsyncioLoopManager() as loop:  # a loop of its own, closed at the end of the block
    futures = [loop.submit_task(load(name)) for name in ("a", "b")]
    print([future.result() for future in futures])  # both were loaded at the same time
    with loop.iterate(pages()) as found:
        for page in found:
            print(page)
