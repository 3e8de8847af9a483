"""Find calls that a thread has been waiting for too long."""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING

from wsgi_async.core.base.log import request_of
from wsgi_async.core.jobs.job import ActorCall
from wsgi_async.insight.stacks import Frame, chain_of, thread_name, thread_stack

from .reports import Report, before_waiting, from_callback, is_idle, text_of
from .whose import Work

if TYPE_CHECKING:
    from wsgi_async.core.jobs.job import Job
    from wsgi_async.core.runners.runner import Runner
    from wsgi_async.insight.progress import Watched

__all__ = ["LongCalls"]

_ANSWER = 0.1
"""Seconds that a loop has to say where a coroutine waits. After that, this thread looks itself."""


class LongCalls:
    """Finds long calls, each once. On the sampler's thread only.

    Args:
        seconds: How long a call may take.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._told: weakref.WeakSet[Job] = weakref.WeakSet()
        self._asked: list[_Question] = []

    def look(self, now: float, loops: list[Watched]) -> list[Report]:
        """Ask the loops about new long calls; return reports of those asked about before."""
        for each in loops:
            if each.live.jobs or each.live.queue:
                self._ask(each.runner, now)
        if not self._asked:
            return []
        ready = [each for each in self._asked if each.ready(now)]
        self._asked = [each for each in self._asked if each not in ready]
        return [each.report() for each in ready]

    def _ask(self, runner: Runner, now: float) -> None:
        for job in runner.live.unfinished():
            waits = job.waiter is not None and not (job.done or job.released)
            if waits and now - job.since >= self._seconds and job not in self._told:
                self._told.add(job)
                question = _Question(job, runner, now)
                # If the call has ended meanwhile, the stacks are from a later moment.
                if not job.done:  # pragma: no branch - a race
                    self._asked.append(question)


class _Question:
    """One call that takes long. Lives until its loop has answered where it waits, or is late."""

    def __init__(self, job: Job, runner: Runner, now: float) -> None:
        # Never changes:
        self._job = job
        self._live = runner.live
        self._asked = now
        self._seconds = now - job.since
        self._waiter = thread_name(job.waiter)
        self._stack = before_waiting(thread_stack(job.waiter))
        elsewhere = job.waiter != runner.owner
        self._loop_stack = from_callback(thread_stack(runner.owner)) if elsewhere else ()
        # No lock: written on the loop before the event is set.
        self._chain: list[Frame] = []
        self._answered = threading.Event()
        self._live.post(self._answer)

    def _answer(self) -> None:
        """On the loop: record where the coroutine waits."""
        self._chain = chain_of(self._job)
        self._answered.set()

    def ready(self, now: float) -> bool:
        """Whether the loop has answered, or is too late to answer."""
        return self._answered.is_set() or now - self._asked >= _ANSWER

    def report(self) -> Report:
        """The report of this call."""
        job, live = self._job, self._live
        chain = tuple(self._chain if self._answered.is_set() else chain_of(job))
        work = Work(job.name, None if isinstance(job, ActorCall) else request_of(job.context))
        first = (
            f"{live.status}: thread {self._waiter!r} has been waiting for "
            f"{work.label} for {self._seconds:.1f} s"
        )
        parts = [
            ("  The coroutine waits at:", chain),
            (f"  Thread {self._waiter!r} waits at:", self._stack),
            (
                "  The event loop's thread is at:",
                () if is_idle(self._loop_stack) else self._loop_stack,
            ),
        ]
        return Report(
            kind="long_wait",
            manager=live.label,
            thread=self._waiter,
            coroutine=work.name,
            request=work.request,
            seconds=self._seconds,
            stack=self._stack,
            loop_stack=self._loop_stack,
            chain=chain,
            text=text_of(first, parts),
        )
