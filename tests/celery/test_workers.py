"""Async tasks on real Celery workers."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
from celery.exceptions import SoftTimeLimitExceeded, TaskRevokedError

from tests.celery.worker import LIMIT, Worker

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

POOLS = ["prefork", "threads", "solo"]


@pytest.fixture(scope="module", params=POOLS)
def worker(request: pytest.FixtureRequest, redis_url: str) -> Iterator[Worker]:
    with Worker(request.param, redis_url, redis_url) as running:
        yield running


def test_tasks_share_a_loop_and_what_is_open_on_it(worker: Worker) -> None:
    """Async tasks, and sync ones that call run(), use one loop and a client that stays open."""
    found = [worker.result(name) for name in ("look", "look", "look_from_sync")]
    assert found[0] == found[1] == found[2]
    assert found[0][2] == 1
    assert worker.result("shared") == worker.result("looking") == 1


def test_a_bound_task_knows_its_request(worker: Worker) -> None:
    """self.request and current_task are Celery's, before and after a wait."""
    result = worker.begin("about_itself")
    name = "tests.celery.tasks.about_itself"
    assert result.get(timeout=LIMIT) == [result.id, result.id, name, False]


@pytest.mark.parametrize("name", ["retried", "retried_by_itself"])
def test_retries_are_celerys_own(worker: Worker, name: str) -> None:
    """self.retry() and autoretry_for work in a coroutine."""
    assert worker.result(name) == 2


def test_a_failure_is_the_tasks(worker: Worker) -> None:
    """What the coroutine raises is the task's result, as the exception that it is."""
    with pytest.raises(LookupError, match="nothing there"):
        worker.result("failing")


def test_background_work_outlives_its_task(worker: Worker) -> None:
    """What a task submits goes on after it."""
    worker.result("begin_in_background")
    worker.wait_for("background done")


def test_many_tasks(worker: Worker) -> None:
    """Each of many tasks has its own result."""
    results = [worker.begin("add", number) for number in range(50)]
    assert [result.get(timeout=LIMIT) for result in results] == list(range(1, 51))


@pytest.fixture(scope="module")
def prefork(redis_url: str) -> Iterator[Worker]:
    with Worker("prefork", redis_url, redis_url) as running:
        yield running


def test_a_soft_time_limit_cancels_the_coroutine(prefork: Worker) -> None:
    """The coroutine cleans up, and the task fails as a sync one does."""
    with pytest.raises(SoftTimeLimitExceeded):
        prefork.result("slow")
    prefork.wait_for("slow cleaned up")
    assert prefork.result("slow_and_caught") == "caught"


def test_a_terminated_task_cleans_up(prefork: Worker) -> None:
    """revoke(terminate=True) cancels the coroutine before its process ends; the next one works."""
    result = prefork.begin("endless")
    prefork.wait_for("endless begun")
    result.revoke(terminate=True)
    with pytest.raises(TaskRevokedError):
        result.get(timeout=LIMIT)
    prefork.wait_for("endless cleaned up")
    prefork.wait_for("loop stopping")
    assert prefork.result("add", 1) == 2


@pytest.mark.parametrize("pool", POOLS)
def test_a_warm_shutdown_closes_what_is_open(redis_url: str, pool: str) -> None:
    """At SIGTERM the worker ends its task, calls on_stop, and closes the resources."""
    with Worker(pool, redis_url, redis_url) as worker:
        worker.result("look")
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
        assert worker.find("loop stopping")
        assert worker.find("client closed")


def test_rabbitmq(rabbitmq_url: str, redis_url: str) -> None:
    """The same with RabbitMQ as the broker."""
    with Worker("prefork", rabbitmq_url, redis_url) as worker:
        assert worker.result("look") == worker.result("look")
        assert worker.result("retried") == 2


def test_no_task_is_lost_when_processes_are_killed(rabbitmq_url: str, redis_url: str) -> None:
    """With late acknowledgement, tasks of a killed worker are done by the next one."""
    with Worker("solo", rabbitmq_url, redis_url) as first:
        results = [first.begin("add", number) for number in range(60)]
        results[5].get(timeout=LIMIT)
        first.signal(signal.SIGKILL)
        first.wait()
    with Worker("solo", rabbitmq_url, redis_url, first.queue) as second:
        found = [second.again(result).get(timeout=LIMIT) for result in results]
    assert found == list(range(1, 61))
