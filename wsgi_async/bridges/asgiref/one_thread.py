"""asgiref's one thread, for the sync functions of background tasks.

No thread waits for those tasks, so none could run the functions that they call. asgiref has one
thread for all such cases. A function there may itself submit a task and wait for it, or call a
coroutine that does, and that task may call sync functions too. They belong to the same thread,
which would wait for itself. So the thread runs these functions while it waits. It does not run
those of other tasks meanwhile, because the waiting function may be in a transaction.
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
"""The inbox of the function on asgiref's thread that has submitted the current task, if any."""


class _Here(threading.local):
    inbox: Inbox | None = None


_here = _Here()


def thread_inbox() -> Inbox | None:
    """The inbox of the function that this thread runs, if it is asgiref's one thread."""
    return _here.inbox


def submit_to(executor: Executor, function: Callable[[], T]) -> Future[T]:
    """Run a function of the current task on asgiref's thread, to which the executor belongs."""
    inbox = submit_for.get()
    run = partial(_run, executor, function)
    future: Future[T] = Future()
    if inbox is not None and inbox.put(partial(_fulfil, future, run)):
        return future
    return executor.submit(run)


def _run(executor: Executor, function: Callable[[], T]) -> T:
    """On asgiref's thread: run a function, which may submit tasks and wait for them."""
    before, inbox = _here.inbox, Inbox()
    _here.inbox = inbox
    try:
        return function()
    finally:
        _here.inbox = before
        for call in inbox.close():  # remaining calls run after the function
            _submit_late(executor, call)


def _submit_late(executor: Executor, call: Callable[[], None]) -> None:
    try:
        executor.submit(call)
    except RuntimeError:
        call()  # the process is ending, and its executor takes nothing more


def _fulfil(future: Future[Any], run: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(run())
    except BaseException as error:
        future.set_exception(error)
    finally:
        del future  # the exception's traceback holds this frame: avoid a cycle
