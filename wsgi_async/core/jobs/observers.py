"""Who is told of what happens on the loops: metrics, for example.

There is nobody by default, and a call then pays for one look.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

from wsgi_async.core.base.log import report
from wsgi_async.core.base.primitives import new_mutex

if TYPE_CHECKING:
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
    """Is told of events, on any thread. It must not block; what it raises is logged."""

    def call_done(self, job: Job) -> None:
        """A job has its outcome. Its thread, if one waits for it, has not gone on yet."""

    def cut_off(self, name: str) -> None:
        """A task of this name had not ended when its manager was stopped."""

    def wakeup_lost(self) -> None:
        """A wake-up from another thread was given in the wrong way, and came late."""

    def stopped(self) -> None:
        """A manager's loop is closed, and its `stop()` returns next."""


observers: tuple[Observer, ...] = ()
"""Another tuple whenever one comes or goes, so that threads read it without a lock."""

_lock = new_mutex()


def add(observer: Observer) -> None:
    """Tell an observer from now on. From any thread."""
    global observers  # noqa: PLW0603 - see there
    with _lock:
        observers = (*observers, observer)


def remove(observer: Observer) -> None:
    """Tell an observer no more. From any thread; another one may be telling it right now."""
    global observers  # noqa: PLW0603 - see there
    with _lock:
        observers = tuple(one for one in observers if one is not observer)


def tell_done(job: Job) -> None:
    """Tell all of a job that is done. In the thread that has ended it."""
    for observer in observers:
        try:
            observer.call_done(job)
        except Exception as error:
            _say_failed(observer, error)


def tell_cut_off(name: str) -> None:
    """Tell all of a task that a stop has cut off. On its loop's thread."""
    for observer in observers:
        try:
            observer.cut_off(name)
        except Exception as error:
            _say_failed(observer, error)


def tell_lost() -> None:
    """Tell all of a wake-up that was lost. On the loop's thread."""
    for observer in observers:
        try:
            observer.wakeup_lost()
        except Exception as error:
            _say_failed(observer, error)


def tell_stopped() -> None:
    """Tell all of a manager that is stopped. On its loop's thread; at the process's end too."""
    for observer in observers:
        try:
            observer.stopped()
        except Exception as error:
            _say_failed(observer, error)


def _say_failed(observer: Observer, error: Exception) -> None:
    report(logging.ERROR, "an observer of the loops, %r, failed", observer, error=error)
