"""The interpreter ends while something is open on a loop."""

from __future__ import annotations

import pytest

from tests.servers.process import run_script

CODE = """
import asyncio, sys, threading
from wsgi_async import LoopThreadPoolExecutor, get_or_create_loop_manager, loop_resource

@loop_resource
async def client():
    yield
    await asyncio.sleep(0)
    print("resource closed", flush=True)

async def background(began):
    try:
        began.set()
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0)
        print("task cleaned up", flush=True)

async def numbers():
    try:
        while True:
            yield 1
    finally:
        await asyncio.sleep(0)
        print("stream closed", flush=True)

opened = []

def use():
    manager = get_or_create_loop_manager()
    if not manager.running:
        manager.start()
    began = threading.Event()
    manager.run(client())
    manager.submit_task(background(began))
    opened.append(manager.iterate(numbers()))
    next(opened[0])
    manager.run(asyncio.sleep(0))
    assert began.is_set()
"""

WHERE = {
    "main thread": "use()",
    "pool": "pool = LoopThreadPoolExecutor(1); pool.submit(use).result(10)",
    "thread": "thread = threading.Thread(target=use); thread.start(); thread.join()",
}

HOW = {"end": "", "sys.exit": "sys.exit()"}


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("where", WHERE)
def test_what_is_open_is_closed(where: str, how: str) -> None:
    """The `finally` blocks of tasks and streams run, resources are closed, nothing is logged."""
    out = run_script("\n".join((CODE, WHERE[where], HOW[how])))
    assert sorted(out.splitlines()) == ["resource closed", "stream closed", "task cleaned up"]
