"""dramatiq: one loop for the threads of a worker process."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.queues.workers import lines
from tests.servers.process import run_script

if TYPE_CHECKING:
    from tests.queues.workers import Example

pytest.importorskip("dramatiq", reason="dramatiq is not installed")
pytestmark = pytest.mark.slow

EXAMPLE = "dramatiq_actors"
ASKED = "price of {} asked with the client"
ALL = range(1, 21)


def test_all_threads_of_a_process_share_one_loop(example: Example, redis_url: str) -> None:
    """All messages have one client, which is closed when the worker process ends."""
    example.send(*ALL, REDIS_URL=redis_url)
    options = ("--processes", "1", "--threads", "4")
    with example.worker(*options, REDIS_URL=redis_url) as worker:
        worker.wait_for("asked with the client", count=len(ALL))
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
        opened, *asked, closed = lines(worker)
        assert (opened, closed) == ("client opened", "client closed")
        assert sorted(asked) == sorted(ASKED.format(number) for number in ALL)


def test_each_worker_process_has_its_own(example: Example, redis_url: str) -> None:
    """Processes are forked before the loop is made; each closes its client."""
    with example.worker("--processes", "2", "--threads", "1", REDIS_URL=redis_url) as worker:
        # Not by lines: two processes may write into one.
        while worker.log.count("client opened") < 2:
            example.send(*ALL, REDIS_URL=redis_url)
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
        assert worker.log.count("client closed") == 2


SCRIPT = """
import asyncio, threading
import dramatiq
from dramatiq.brokers.stub import StubBroker
from wsgi_async import run

broker = StubBroker()
dramatiq.set_broker(broker)
loops, closed = {}, []
"""


def test_without_the_middleware_each_thread_has_a_loop() -> None:
    """It is closed when its thread ends, before the worker's end."""
    run_script(
        SCRIPT
        + """
from tests.servers.process import wait_until
from wsgi_async import AsyncioLoopManager, loop_resource
together = threading.Barrier(2)

@loop_resource
async def client():
    yield
    closed.append(asyncio.get_running_loop())

async def note():
    await client()
    return asyncio.get_running_loop()

@dramatiq.actor
def look():
    loops.setdefault(threading.current_thread(), set()).add(run(note()))
    together.wait(20)

worker = dramatiq.Worker(broker, worker_threads=2, worker_timeout=50)
worker.start()
for _ in range(4):
    look.send()
broker.join(look.queue_name)
worker.stop()
found = [loop for each in loops.values() for loop in each]
assert len(loops) == len(found) == 2, loops
wait_until(lambda: set(closed) == set(found), what="the clients are closed")
broker.close()
"""
    )


def test_a_time_limit_comes_when_the_coroutine_has_ended() -> None:
    """It cannot interrupt a thread that waits; the timeout of run() can, and cancels."""
    run_script(
        """
from dramatiq.middleware import TimeLimit, time_limit
"""
        + SCRIPT.replace("StubBroker()", "StubBroker(middleware=[TimeLimit(interval=10)])")
        + """
raised = threading.Event()  # by dramatiq, in the thread that waits
waits = threading.Event()

def raise_it(*args, original=time_limit.raise_thread_exception):
    # Not before: in a Thread.start() of the standard library it can do harm that nobody can mend.
    assert waits.wait(20)
    original(*args)
    raised.set()

time_limit.raise_thread_exception = raise_it

async def wait():
    waits.set()
    assert await asyncio.to_thread(raised.wait, 20)
    return "waited"

found = []

@dramatiq.actor(time_limit=10)
def limited():
    try:
        found.append(run(wait()))
    except time_limit.TimeLimitExceeded:
        found.append("too late")

@dramatiq.actor(time_limit=60_000)
def bounded():
    try:
        run(asyncio.sleep(60), timeout=0.01)
    except TimeoutError:
        found.append("canceled")

broker.emit_after("process_boot")  # begins to look for limits
worker = dramatiq.Worker(broker, worker_threads=1, worker_timeout=50)
worker.start()
limited.send()
bounded.send()
broker.join(bounded.queue_name)
worker.stop()
broker.close()
assert raised.is_set()
assert found == ["too late", "canceled"], found
""",
        silent=False,
    )
