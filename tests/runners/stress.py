"""In a process of its own: threads do at random what can be done, and every outcome is checked.

It prints how many operations it has done.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import random
import threading
from typing import TYPE_CHECKING, Any

from tests.core.support import say, wait_until
from tests.runners.parts import LIMIT, Worker, factory_of, make, thread_of
from tests.runners.spies import SpyPrimitives
from wsgi_async import async_to_sync_future

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsgi_async import AsyncioLoopManager

    Outcome = tuple[str, object]

THREADS = 4
OPERATIONS = 500
STOPS = 8


class Failure(Exception):
    """What a coroutine raises on purpose."""


class Job:
    """One coroutine, what it has to come to, and the threads that stepped it."""

    def __init__(self, manager: AsyncioLoopManager, kind: str, number: int) -> None:
        self.manager = manager
        self.kind = kind
        self.number = number
        self.threads: list[int] = []
        self.open = 0  # begun and not ended

    async def walk(self) -> int:
        self.open += 1
        try:
            self.step()
            await getattr(self, self.kind)()
            self.step()
            return self.number
        finally:
            self.open -= 1

    def step(self) -> None:
        self.threads.append(threading.get_ident())

    async def now(self) -> None:
        pass

    async def turns(self) -> None:
        for _ in range(3):
            await asyncio.sleep(0)
            self.step()

    async def timer(self) -> None:
        await asyncio.sleep(self.number % 4 / 1000)

    async def thread(self) -> None:
        await asyncio.to_thread(int, self.number)

    async def fail(self) -> None:
        await asyncio.sleep(0)
        raise Failure(self.number)

    async def leave(self) -> None:
        await asyncio.sleep(0)
        raise SystemExit(self.number)

    async def nested(self) -> None:
        inner = Job(self.manager, "turns", self.number)
        assert await asyncio.to_thread(lambda: self.manager.run(inner.walk())) == self.number

    async def inner(self) -> None:
        inner = Job(self.manager, "timer", self.number)
        assert await asyncio.wrap_future(self.manager.submit_task(inner.walk())) == self.number

    async def endless(self) -> None:
        while True:
            await asyncio.sleep(0.001)
            self.step()

    @property
    def expected(self) -> Outcome:
        """How it ends if nobody cancels it."""
        kinds = {"fail": "Failure", "leave": "SystemExit"}
        return kinds.get(self.kind, "result"), self.number

    def check_threads(self, lives_on: set[int]) -> None:
        """The loop's thread has stepped it, and no other."""
        assert len(set(self.threads)) <= 1, (self.kind, self.threads)
        assert set(self.threads) <= lives_on, (self.kind, self.threads, lives_on)


KINDS = ("now", "turns", "timer", "thread", "fail", "leave", "nested", "inner")


class Target:
    """A manager and what is known of it."""

    def __init__(self, owner: Worker, loop: str, *, stops: bool) -> None:
        self.spy = SpyPrimitives()
        factory = factory_of(loop)
        self.manager = owner.call(make, self.spy, loop_factory=factory, grace=LIMIT)
        self.stops = stops  # somebody stops it now and then
        self.lives_on = {thread_of(self.manager)}  # one thread for each life

    def restart(self) -> None:
        """Stop it under whoever uses it, and start it again."""
        self.manager.stop(LIMIT)
        self.manager.start()
        self.lives_on.add(thread_of(self.manager))


class Client:
    """One thread's random operations."""

    def __init__(self, targets: list[Target], seed: int) -> None:
        self.targets = targets
        self.random = random.Random(seed)
        self.pending: list[tuple[Target, Job, Callable[[], Any]]] = []
        self.jobs: list[tuple[Target, Job]] = []
        self.done = 0

    def work(self) -> None:
        """Do them all, and wait for all that is left."""
        operations = [
            self.run,
            self.run,
            self.time_out,
            self.submit,
            self.submit,
            self.cancel,
            self.outside,
        ]
        for _ in range(OPERATIONS):
            target = self.random.choice(self.targets)
            self.random.choice(operations)(target)
            while self.pending and self.random.random() < 0.6:
                self.collect()
            self.done += 1
        while self.pending:
            self.collect()

    def job(self, target: Target, kind: str | None = None) -> Job:
        job = Job(target.manager, kind or self.random.choice(KINDS), self.random.randrange(1000))
        self.jobs.append((target, job))
        return job

    def run(self, target: Target) -> None:
        job = self.job(target)
        self.check(target, job, lambda: target.manager.run(job.walk()))

    def time_out(self, target: Target) -> None:
        job = self.job(target, "endless")
        seconds = self.random.choice([0, 0.001, 0.003])
        outcome = self.outcome(target, lambda: target.manager.run(job.walk(), timeout=seconds))
        assert outcome[0] in ("TimeoutError", "stopped"), outcome
        assert not job.open

    def submit(self, target: Target) -> None:
        job = self.job(target)
        future = self.attempt(target, lambda: target.manager.submit_task(job.walk()))
        if future is not None:
            self.pending.append((target, job, lambda: self.wait(future)))

    def wait(self, future: Any) -> Any:
        """Wait, perhaps too short at first."""
        if self.random.random() < 0.3:
            try:
                return future.result(self.random.choice([0, 0.0005]))
            except TimeoutError:
                pass
        return future.result(LIMIT)

    def cancel(self, target: Target) -> None:
        job = self.job(target, "endless")
        future: Any = self.attempt(target, lambda: target.manager.submit_task(job.walk()))
        if future is None:
            return
        if self.random.random() < 0.5:
            try:
                future.result(0.001)
            except TimeoutError:
                pass
            except RuntimeError as error:
                self.stopped(target, error)
        future.cancel()
        outcome = self.outcome(target, lambda: future.result(LIMIT))
        assert outcome[0] in ("CancelledError", "stopped"), outcome

    def outside(self, target: Target) -> None:
        if target.stops:
            return  # what comes past us onto a loop that is being closed may never be begun
        job = self.job(target, self.random.choice(["now", "turns", "timer", "fail"]))
        loop = target.manager.get_event_loop()
        # Wrapped, as the thread may be the one that the loop lives on.
        future = async_to_sync_future(asyncio.run_coroutine_threadsafe(job.walk(), loop))
        self.pending.append((target, job, lambda: future.result(LIMIT)))

    def collect(self) -> None:
        target, job, wait = self.pending.pop(self.random.randrange(len(self.pending)))
        self.check(target, job, wait)

    def attempt(self, target: Target, call: Callable[[], Any]) -> Any:
        """A future, or None if the manager is being stopped."""
        try:
            return call()
        except RuntimeError as error:
            return self.stopped(target, error)

    def stopped(self, target: Target, error: RuntimeError) -> None:
        """See to it that an error says that the manager does not run, and that this can be."""
        why = str(error)
        if not (target.stops and ("stop" in why or "being started" in why)):
            raise error

    def check(self, target: Target, job: Job, call: Callable[[], Any]) -> None:
        outcome = self.outcome(target, call)
        assert outcome == job.expected or outcome[0] == "stopped", (job.kind, outcome)

    def outcome(self, target: Target, call: Callable[[], Any]) -> Outcome:
        """What comes of a call: its result, the exception's kind and argument, or a stop."""
        try:
            return "result", call()
        except (Failure, SystemExit) as error:
            return type(error).__name__, error.args[0]
        except TimeoutError as error:
            return "TimeoutError", str(error)
        except (concurrent.futures.CancelledError, asyncio.CancelledError) as error:
            return "CancelledError", str(error)
        except RuntimeError as error:
            self.stopped(target, error)
            return "stopped", str(error)


def child(loop: str, runner: str, seed: int) -> None:
    """The main function of the process.

    Args:
        loop: The kind of loop.
        runner: Where the loops live.
        seed: Of what is done.
    """
    resident = runner == "resident"
    workers = [Worker(f"worker {number}", resident=resident) for number in range(THREADS)]
    # A second manager of a thread has a keeper, whatever the thread's.
    own = [Target(worker, loop, stops=False) for worker in workers]
    shared = Target(workers[0], loop, stops=False)
    stopped = Target(workers[1], loop, stops=True)
    clients = [
        Client([mine, mine, shared, stopped], seed + number) for number, mine in enumerate(own)
    ]
    going_on = [worker.begin(client.work) for worker, client in zip(workers, clients, strict=True)]
    for _ in range(STOPS):
        concurrent.futures.wait(going_on, 0.1)
        stopped.restart()
    for future in going_on:
        future.result(LIMIT * 4)
    for target in [*own, shared, stopped]:
        assert target.spy.overlaps == 0
        assert target.spy.escaped == []
        assert target.spy.threads == target.lives_on
        manager = target.manager
        wait_until(lambda manager=manager: "in_flight=0" in repr(manager), repr(manager))  # type: ignore[misc]
        manager.stop(LIMIT)
    for client in clients:
        for target, job in client.jobs:
            assert job.open == 0, job.kind
            job.check_threads(target.lives_on)
    for worker in workers:
        worker.end()
    say(f"{sum(client.done for client in clients)}")
