"""Count what happens on the loops.

Calls end on the loops' threads, and in destructors and signal handlers. There an event is only
recorded. Other threads count it later: within a second, and when a manager has been stopped.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from typing import TYPE_CHECKING

from wsgi_async.core.actors.context_manager import ContextManagerActor
from wsgi_async.core.base.log import report
from wsgi_async.core.base.primitives import new_mutex
from wsgi_async.core.jobs import observers
from wsgi_async.core.jobs.job import ActorCall
from wsgi_async.insight import sampler

from .gauges import BlockedTime, Lag, gauges_of
from .numbers import Event, Numbers, Totals
from .prometheus import Prometheus, is_installed

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import CollectorRegistry

    from wsgi_async.core.jobs.job import Job
    from wsgi_async.insight.progress import Watched

__all__ = ["Metrics", "read", "start_metrics"]

_EVERY = 1.0
"""Seconds between two updates of all numbers."""

_MOST = 200_000
"""The most events to keep until a thread counts them. Fewer than this come in a second."""


def start_metrics(registry: CollectorRegistry | None = None, prefix: str = "wsgi_async") -> Metrics:
    """Start counting. If `prometheus_client` is installed, it exports the numbers.

    Call it once, where you create your app. A second call with the same arguments returns what the
    first one has started.

    Args:
        registry: Where the metrics are registered; `prometheus_client.REGISTRY` with `None`.
        prefix: What their names begin with.

    Raises:
        RuntimeError: Metrics have been started with other arguments.
    """
    with _running.lock:
        metrics = _running.metrics
        if metrics is None:
            metrics = _running.metrics = Metrics(registry, prefix)
            observers.add(metrics)
            sampler.add(metrics)
        elif metrics.made_with != (registry, prefix):
            raise RuntimeError(
                "Metrics have been started with another registry or prefix. Call stop() of what "
                "start_metrics() returned before you start others."
            )
        return metrics


def read() -> Numbers:
    """What has been counted in this process since `start_metrics()`. From any thread.

    Raises:
        RuntimeError: `start_metrics()` has not been called.
    """
    metrics = _running.metrics
    if metrics is None:
        raise RuntimeError("Nothing is counted. Call start_metrics() first.")
    return metrics.read()


class _Running:
    """The metrics of this process. Lives as long as the process."""

    def __init__(self) -> None:
        self.lock = new_mutex()
        # Written under the lock, and read without it:
        self.metrics: Metrics | None = None


_running = _Running()


class Metrics:
    """What `start_metrics()` returns. Lives until you stop it, or as long as the process.

    Args:
        registry: See `start_metrics()`.
        prefix: Likewise.
    """

    def __init__(self, registry: CollectorRegistry | None, prefix: str) -> None:
        # Never changes:
        self.made_with = (registry, prefix)
        self._prometheus = Prometheus(registry, prefix) if is_installed() else None
        self.forget()

    def forget(self) -> None:
        """In a forked child: forget what the parent has counted."""
        # No lock: single operations on a deque are thread-safe.
        self._events: deque[Event] = deque(maxlen=_MOST)
        self._lock = new_mutex()
        # Under the lock:
        self._totals = Totals()
        # No lock: a thread only checks whether the value is its own ident.
        self._counting = 0
        # One thread, the sampler's:
        self._lag = Lag()
        self._blocked = BlockedTime()
        # No lock: if two threads write at once, either value will do.
        self._failed = False  # a failure has been logged, which is done once
        self._due = 0.0

    def read(self) -> Numbers:
        """What has been counted in this process. From any thread."""
        self._count()
        gauges = gauges_of(sampler.live_runners(), self._lag.seconds)
        with self._lock:  # a destructor may come here while this thread counts
            return self._totals.numbers(gauges)

    def stop(self) -> None:
        """Stop counting, and unregister the metrics. From any thread."""
        sampler.remove(self)
        observers.remove(self)
        with _running.lock:
            if _running.metrics is not self:
                return
            _running.metrics = None
        if self._prometheus is not None:
            self._prometheus.unregister()

    # -- from any thread, with any lock held -----------------------------------------------------

    def call_done(self, job: Job) -> None:
        """Record that a call has ended."""
        self._events.append(("call", _kind_of(job), job.age))
        if job.expired and job.deadline is not None and job.deadline.left() == 0:
            self._events.append(("timeout", "", 0.0))

    def cut_off(self, name: str) -> None:
        """Record that a task was cut off."""
        self._events.append(("cut_off", name, 0.0))

    def wakeup_lost(self) -> None:
        """Record that a wake-up was lost."""
        self._events.append(("lost_wakeup", "", 0.0))

    # -- by those who count ----------------------------------------------------------------------

    def stopped(self) -> None:
        """A manager is stopped, perhaps the last one of the process: count all recorded events."""
        self._count()

    def look(self, now: float, loops: list[Watched]) -> float | None:
        """On the sampler's thread: count blocked time, and everything else once a second."""
        for by, seconds in self._blocked.look(now, loops):
            self._events.append(("blocked", by, seconds))
        if now >= self._due or not loops:
            self._due = now + _EVERY
            self._lag.look(loops)
            self._count()
            gauges = gauges_of([each.runner for each in loops], self._lag.seconds)
            self._pass_on(lambda prometheus: prometheus.show(gauges))
        return None

    def _count(self) -> None:
        if self._counting == threading.get_ident():
            return  # in a destructor that has interrupted the count, which continues after it
        with self._lock:
            self._counting = threading.get_ident()
            try:
                while self._events:
                    self._add(self._events.popleft())
            finally:
                self._counting = 0

    def _add(self, event: Event) -> None:
        counted = self._totals.add(event)
        self._pass_on(lambda prometheus: prometheus.add(counted))

    def _pass_on(self, what: Callable[[Prometheus], None]) -> None:
        """Update prometheus_client's metrics, if any. With several processes it writes files."""
        if self._prometheus is None:
            return
        try:
            what(self._prometheus)
        except Exception as error:
            failed, self._failed = self._failed, True
            if not failed:
                report(logging.ERROR, "a metric could not be counted", error=error)


def _kind_of(job: Job) -> str:
    if isinstance(job, ActorCall):
        return "context_manager" if isinstance(job.actor, ContextManagerActor) else "stream"
    return "submit_task" if job.waiter is None else "run"
