"""Observers of the events on the loops, for example metrics.

By default there are none, and a call then pays for one check only.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

from wsgi_async.core.base.log import report
from wsgi_async.core.base.primitives import new_mutex

if TYPE_CHECKING:
    from collections.abc import Callable

    from .job import Job

__all__ = [
    "Observer",
    "add",
    "observers",
    "remove",
    "tell_cut_off",
    "tell_done",
    "tell_lost",
    "tell_stopped",
]


class Observer(Protocol):
    """Receives events, on any thread. It must not block. Exceptions that it raises are logged."""

    def call_done(self, job: Job) -> None:
        """A job has its outcome. The thread that waits for it, if any, has not been woken yet."""

    def cut_off(self, name: str) -> None:
        """A task of this name had not ended when its manager was stopped."""

    def wakeup_lost(self) -> None:
        """Another thread woke the loop in a way that is not thread-safe. The wake-up came late."""

    def stopped(self) -> None:
        """A manager's loop is closed, and its `stop()` returns next."""


observers: tuple[Observer, ...] = ()
"""Replaced whenever an observer is added or removed, so that threads read it without a lock."""

_lock = new_mutex()


def add(observer: Observer) -> None:
    """Add an observer. From any thread."""
    global observers  # noqa: PLW0603 - see there
    with _lock:
        observers = (*observers, observer)


def remove(observer: Observer) -> None:
    """Remove an observer. From any thread; another thread may be calling it right now."""
    global observers  # noqa: PLW0603 - see there
    with _lock:
        observers = tuple(one for one in observers if one is not observer)


def tell_done(job: Job) -> None:
    """Tell all observers that a job is done. On the thread that ended it."""
    _tell(lambda observer: observer.call_done(job))


def tell_cut_off(name: str) -> None:
    """Tell all observers that a stop has cut off a task. On its loop's thread."""
    _tell(lambda observer: observer.cut_off(name))


def tell_lost() -> None:
    """Tell all observers that a wake-up was lost. On the loop's thread."""
    _tell(lambda observer: observer.wakeup_lost())


def tell_stopped() -> None:
    """Tell all observers that a manager has stopped. On its loop's thread, or at exit."""
    _tell(lambda observer: observer.stopped())


def _tell(event: Callable[[Observer], None]) -> None:
    for observer in observers:
        try:
            event(observer)
        except Exception as error:
            report(logging.ERROR, "an observer of the loops, %r, failed", observer, error=error)
