"""Workers under load whose processes are killed again and again."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any, Self

import pytest
from celery import Celery

from tests.celery.noted import Notes
from tests.celery.worker import Worker
from tests.servers.process import LIMIT, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

KILLS = 20
EACH = 6
"""Each sixth kill ends the worker with all its processes, the others end one process."""

WHOLE = KILLS // EACH

PROCESSES = 2
BETWEEN = 8
"""Tasks that are done between two kills."""

AHEAD = 12
"""Tasks that are sent and not done: more than the processes have taken."""


def redis_options(name: str) -> dict[str, Any]:
    """Have Redis hand out a killed worker's tasks after some seconds instead of an hour."""
    return {
        "visibility_timeout": 5,
        "unacked_restore_interval": 0.5,
        "unacked_restore_throttle": 1,
        "unacked_mutex_expire": 1,  # a killed worker may have held it
        # What another test's worker has left is not this one's.
        "unacked_key": f"{name}:unacked",
        "unacked_index_key": f"{name}:unacked_index",
        "unacked_mutex_key": f"{name}:unacked_mutex",
    }


class Load:
    """A thread that keeps tasks in a queue. Lives in a `with` block.

    Args:
        broker: Where it sends them.
        notes: What is done of them, under the queue's name.
    """

    def __init__(self, broker: str, notes: Notes) -> None:
        self.sent = 0  # by the thread alone
        self._client = Celery(broker=broker, set_as_current=False)
        self._notes = notes
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.end()
        self._client.close()

    def _run(self) -> None:
        while not self._enough.is_set():
            if self.sent - self._notes.done() < AHEAD:
                args = (self._notes.name, self.sent)
                self._client.send_task("tests.celery.noted.note", args, queue=self._notes.name)
                self.sent += 1
            else:
                self._enough.wait(0.01)

    def end(self) -> int:
        """Send no more; how many were sent."""
        self._enough.set()
        self._thread.join(LIMIT)
        return self.sent

    def waiting(self) -> int:
        """How many tasks wait in the broker."""
        with self._client.connection_for_read() as connection:
            queue = connection.default_channel.queue_declare(
                self._notes.name, durable=True, auto_delete=False
            )
            return int(queue.message_count)


class Killed:
    """A worker that is killed and started again. Lives in a `with` block.

    Args:
        broker: Where the tasks come from.
        backend: A Redis for the notes.
        notes: The tasks' notes, under the queue's name.
    """

    def __init__(self, broker: str, backend: str, notes: Notes) -> None:
        self.kills = 0
        self._urls = broker, backend
        self._notes = notes
        self._redis = broker.startswith("redis")
        self._running = ExitStack()
        self.worker = self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self._running.__exit__(*error)

    def _start(self) -> Worker:
        name = self._notes.name
        options = redis_options(name) if self._redis else {}
        return self._running.enter_context(
            Worker("prefork", *self._urls, name, concurrency=PROCESSES, transport=options)
        )

    def kill(self) -> None:
        """Kill a process that has a task, or each sixth time the whole worker."""
        self.kills += 1
        if self.kills % EACH:
            os.kill(self._notes.last(), signal.SIGKILL)
        else:
            self._kill_worker()

    def _kill_worker(self) -> None:
        # Celery's Redis transport takes a message out of the queue before it notes it as one that
        # is not acknowledged. A kill between the two loses it, which is Celery's own limit. While
        # each process has a task, none is taken.
        if self._redis:
            self._notes.hold(self.kills)
            wait_until(lambda: self._notes.held(self.kills) == PROCESSES, what="tasks under way")
        os.killpg(self.worker.pid, signal.SIGKILL)
        self._running.close()
        self._notes.release()
        self.worker = self._start()


@pytest.fixture(params=["redis", "rabbitmq"])
def broker(request: pytest.FixtureRequest) -> str:
    """Where the tasks come from."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def notes(redis_url: str, broker: str) -> Iterator[Notes]:
    """The notes of this test's tasks."""
    with closing(Notes(redis_url, f"killed-{broker.partition(':')[0]}")) as notes:
        yield notes


def repeated(counts: dict[int, int]) -> int:
    """How often a task was begun, or done, once more."""
    return sum(counts.values()) - len(counts)


def test_no_task_is_lost_in_twenty_kills(broker: str, redis_url: str, notes: Notes) -> None:
    """With late acknowledgement each task is done, and only what a kill interrupts is done again.

    Each new process has one loop for all its tasks.
    """
    with Load(broker, notes) as load, Killed(broker, redis_url, notes) as killed:
        while killed.kills < KILLS:
            enough = notes.done() + BETWEEN
            wait_until(lambda: notes.done() >= enough, what=f"tasks after {killed.kills} kills")  # noqa: B023
            killed.kill()
        sent = load.end()
        wait_until(lambda: notes.done() == sent, what="all tasks")
        wait_until(lambda: load.waiting() == notes.unacknowledged() == 0, what="an empty broker")
        killed.worker.signal(signal.SIGTERM)
        assert killed.worker.wait() == 0
    begun, done, loops = notes.counts("begun"), notes.counts("done"), notes.loops()
    print(f"{sent} tasks, {repeated(begun)} begun again, {repeated(done)} done again")
    assert set(done) == set(range(sent))
    assert repeated(done) <= repeated(begun) <= KILLS - WHOLE + WHOLE * PROCESSES
    assert len(loops) >= KILLS
    assert {len(found) for found in loops.values()} == {1}
