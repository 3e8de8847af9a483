"""RQ: one loop for a worker's jobs, or one for each job where the worker forks."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.queues.workers import lines
from tests.servers.process import run_script

if TYPE_CHECKING:
    from tests.queues.workers import Example

pytest.importorskip("rq", reason="rq is not installed")
pytestmark = pytest.mark.slow

EXAMPLE = "rq_jobs"
ASKED = "price of {} asked with the client"
SIMPLE = ("--worker-class", "rq.SimpleWorker")


def test_a_simple_worker_keeps_one_loop(example: Example, redis_url: str) -> None:
    """All jobs have one client, which is closed when the worker ends."""
    example.send(1, 2, 3, RQ_REDIS_URL=redis_url)
    with example.worker(RQ_REDIS_URL=redis_url) as worker:
        worker.wait_for(ASKED.format(3))
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
        asked = [ASKED.format(number) for number in (1, 2, 3)]
        assert lines(worker) == ["client opened", *asked, "client closed"]


def test_the_default_worker_forks_for_each_job(example: Example, redis_url: str) -> None:
    """Each job has a client of its own, and its process ends without closing it."""
    example.send(1, 2, RQ_REDIS_URL=redis_url)
    with example.worker("--burst", without=SIMPLE, RQ_REDIS_URL=redis_url) as worker:
        assert worker.wait() == 0
        asked = [ASKED.format(number) for number in (1, 2)]
        assert lines(worker) == ["client opened", asked[0], "client opened", asked[1]]


JOBS = """
import asyncio, os
from redis import Redis
from rq import Queue, SimpleWorker, Worker
from examples.queues.rq_jobs import ask
from tests.queues import jobs
from wsgi_async import AsyncioLoopManager, run

redis = Redis.from_url({url!r})
queue = Queue(connection=redis)
"""


def test_a_job_in_a_forked_process_can_close_its_client(redis_url: str) -> None:
    """A `with` block in the job closes its loop, also where the worker had a loop at the fork."""
    printed = run_script(
        JOBS.format(url=redis_url)
        + """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside another thread
assert run(asyncio.sleep(0, 7)) == 7  # the worker's own loop, which no job can use
job = queue.enqueue(jobs.closing, 5)
Worker([queue], connection=redis).work(burst=True, logging_level="ERROR")
assert job.return_value() == "price of 5 asked with the client"
redis.close()
""",
        silent=False,
    )
    assert printed.splitlines() == ["client opened", "client closed"]


def test_a_time_limit_cancels_the_coroutine(redis_url: str) -> None:
    """The coroutine cleans up, the job fails as a sync one does, and the next job has the loop."""
    printed = run_script(
        JOBS.format(url=redis_url)
        + """
slow = queue.enqueue(jobs.slow, job_timeout=1)
after = queue.enqueue(jobs.loop)
SimpleWorker([queue], connection=redis).work(burst=True, logging_level="CRITICAL")
assert "JobTimeoutException" in slow.latest_result().exc_string
assert after.return_value() == run(jobs.where())
redis.close()
""",
        silent=False,
    )
    assert printed.splitlines() == ["cleaned up"]
