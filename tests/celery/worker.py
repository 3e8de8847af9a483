"""A real Celery worker, and what the tests ask of it."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

from celery import Celery

from tests.servers.process import CELERY_LIMIT, Server

if TYPE_CHECKING:
    from collections.abc import Mapping

    from celery.result import AsyncResult

__all__ = ["LIMIT", "Worker"]

LIMIT = 40.0

_numbers = itertools.count()


class Worker(Server):
    """A worker of `tests.celery.tasks`, ready for work.

    Args:
        pool: Celery's name of the pool.
        broker: Where the tasks come from.
        backend: Where the results go, a Redis.
        queue: Of another worker, which has ended; one of its own with None.
        concurrency: How many processes or threads it has.
        transport: Options of the broker's transport.
    """

    def __init__(
        self,
        pool: str,
        broker: str,
        backend: str,
        queue: str | None = None,
        *,
        concurrency: int = 1,
        transport: Mapping[str, Any] | None = None,
    ) -> None:
        # No two workers share one by accident.
        self.queue = queue or f"{pool}-{next(_numbers)}"
        quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "-l", "info"]
        super().__init__(
            *("-m", "celery", "-A", "tests.celery.tasks", "worker", "--pool", pool),
            *(*quiet, "--concurrency", str(concurrency), "-Q", self.queue),
            BROKER=broker,
            BACKEND=backend,
            TRANSPORT=json.dumps(transport or {}),
            # Celery and its clients use what newer ones call deprecated.
            PYTHONWARNINGS="ignore",
        )
        self.client = Celery(broker=broker, backend=backend)
        self._results: list[AsyncResult[Any]] = []
        self.ready(r"celery@.* ready", port=0)

    def wait(self, limit: float = CELERY_LIMIT) -> int:
        """As any server's."""
        return super().wait(limit)

    def begin(self, name: str, *args: Any) -> AsyncResult[Any]:
        """Send a task."""
        full = name if name == "looking" else f"tests.celery.tasks.{name}"
        result: AsyncResult[Any] = self.client.send_task(full, args, queue=self.queue)
        self._results.append(result)
        return result

    def keep(self, *results: AsyncResult[Any]) -> AsyncResult[Any]:
        """Take care of results that came otherwise; the first one."""
        self._results.extend(results)
        return results[0]

    def again(self, result: AsyncResult[Any]) -> AsyncResult[Any]:
        """The result of a task that was sent to another worker, which has ended."""
        found: AsyncResult[Any] = self.client.AsyncResult(result.id)
        self._results.append(found)
        return found

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        for result in self._results:
            # Its destructor would look for the backend when that has ended.
            result.backend.remove_pending_result(result)
            result.backend = None
        # Celery leaves these to the collector, which may find a socket before what would close it.
        self.client.backend.client.connection_pool.disconnect()
        self.client.close()

    def result(self, name: str, *args: Any) -> Any:
        """Send a task and wait for what it returns or raises."""
        return self.begin(name, *args).get(timeout=LIMIT)
