"""A task that notes in a Redis what it does, and the notes as a test reads them."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

from celery import shared_task
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from wsgi_async import loop_resource

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

WORK = 0.02
"""Seconds that a task takes at least."""


@loop_resource
async def redis() -> AsyncIterator[AsyncRedis]:
    """A client for each loop."""
    async with AsyncRedis.from_url(os.environ["BACKEND"], decode_responses=True) as client:
        yield client


@shared_task(acks_late=True, reject_on_worker_lost=True, ignore_result=True)
async def note(name: str, number: int) -> None:
    """Note the beginning and the end, and wait between them while the test holds the gate."""
    client = await redis()
    await client.hincrby(f"{name}:begun", str(number), 1)
    await client.sadd(f"{name}:loops", f"{os.getpid()} {id(asyncio.get_running_loop())}")
    await client.set(f"{name}:last", os.getpid())
    await asyncio.sleep(WORK)
    gate: Any
    while gate := await client.get(f"{name}:gate"):
        await client.sadd(f"{name}:held:{gate!s}", os.getpid())
        await asyncio.sleep(WORK)
    await client.hincrby(f"{name}:done", str(number), 1)


class Notes:
    """What the tasks have noted under one name. Close it in the end.

    Args:
        url: The Redis.
        name: Of the notes.
    """

    def __init__(self, url: str, name: str) -> None:
        self.name = name
        self._redis: Any = Redis.from_url(url, decode_responses=True)

    def counts(self, what: str) -> dict[int, int]:
        """Each task's number, and how often it has begun, or is done."""
        found = self._redis.hgetall(f"{self.name}:{what}")
        return {int(number): int(times) for number, times in found.items()}

    def done(self) -> int:
        """How many tasks are done, each counted once."""
        return int(self._redis.hlen(f"{self.name}:done"))

    def loops(self) -> dict[int, set[str]]:
        """The loops that tasks have run on in each process."""
        found: dict[int, set[str]] = {}
        for line in self._redis.smembers(f"{self.name}:loops"):
            pid, loop = line.split()
            found.setdefault(int(pid), set()).add(loop)
        return found

    def last(self) -> int:
        """The process whose task has begun last."""
        return int(self._redis.get(f"{self.name}:last"))

    def hold(self, gate: int) -> None:
        """Have tasks wait before their end, at a gate with this number."""
        self._redis.set(f"{self.name}:gate", gate)

    def held(self, gate: int) -> int:
        """How many processes have a task that waits at this gate."""
        return int(self._redis.scard(f"{self.name}:held:{gate}"))

    def release(self) -> None:
        """Let them end."""
        self._redis.delete(f"{self.name}:gate")

    def unacknowledged(self) -> int:
        """How many messages Celery's Redis transport has kept under these notes' name."""
        return int(self._redis.hlen(f"{self.name}:unacked"))

    def close(self) -> None:
        self._redis.close()
