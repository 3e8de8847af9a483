"""asgiref's one thread, for the sync functions of background tasks.

No thread waits for those tasks, so there is none that could run what they call; asgiref has one for
all such cases. A function there may itself submit a task and wait for it, or call a coroutine that
does, and that task may call sync functions too. They belong to the same thread, which would wait
for itself: so it runs them while it waits. Those of other tasks it does not run meanwhile, as the
function may be in a transaction.
"""

from __future__ import annotations

import contextvars
import threading
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from wsgi_async.core.jobs.inbox import Inbox

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

__all__ = ["submit_for", "submit_to", "thread_inbox"]

T = TypeVar("T")

submit_for: contextvars.ContextVar[Inbox | None]
submit_for = contextvars.ContextVar("wsgi_async submit_for", default=None)
"""For the present task: the inbox of the function on asgiref's thread that has submitted it."""


class _Here(threading.local):
    inbox: Inbox | None = None


_here = _Here()


def thread_inbox() -> Inbox | None:
    """The inbox of the function that this thread runs, if it is asgiref's one thread."""
    return _here.inbox


def submit_to(executor: Executor, function: Callable[[], T]) -> Future[T]:
    """Have a function of the present task run on asgiref's thread, which the executor is."""
    inbox = submit_for.get()
    run = partial(_run, executor, function)
    future: Future[T] = Future()
    if inbox is not None and inbox.put(partial(_fulfil, future, run)):
        return future
    return executor.submit(run)


def _run(executor: Executor, function: Callable[[], T]) -> T:
    """In that thread: run a function, which may submit tasks and wait for them."""
    before, inbox = _here.inbox, Inbox()
    _here.inbox = inbox
    try:
        return function()
    finally:
        _here.inbox = before
        for call in inbox.close():  # what is left runs after the function
            _submit_late(executor, call)


def _submit_late(executor: Executor, call: Callable[[], None]) -> None:
    try:
        executor.submit(call)
    except RuntimeError:
        call()  # the process ends, and takes nothing more


def _fulfil(future: Future[Any], run: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(run())
    except BaseException as error:
        future.set_exception(error)
    finally:
        del future  # the traceback of the exception holds this frame: no cycle
