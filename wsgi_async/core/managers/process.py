"""What happens to all managers at once: the process's exit, and a fork."""

from __future__ import annotations

import atexit
import os
from typing import Any

from wsgi_async.core.actors.leaving import open_streams
from wsgi_async.core.base import threads
from wsgi_async.core.base.deadlines import Deadline
from wsgi_async.core.base.forks import imported, install_fork_hook, notice_fork
from wsgi_async.core.life.lifecycle import STOP_TIMEOUT
from wsgi_async.core.runners.resident import forget_seat

from . import manager, thread_pool

__all__ = ["install_hooks", "stop_all", "stop_with_process"]

_inherited: list[Any] = []
"""The parent process's runners and loops, kept forever: see `Lifecycle.inherit`."""

_hooked: set[int] = set()
"""The id of this process, if it is a child of `multiprocessing` with an exit hook of ours."""


def install_hooks() -> None:
    """Register the exit hook and the fork hook. Called once, at import."""
    # atexit runs after all non-daemon threads have been joined, so never during a request.
    # gunicorn's worker_exit and threading._register_atexit may run while a request still runs.
    atexit.register(stop_all)
    install_fork_hook(_forget_parent)
    manager.on_start(stop_with_process)


def stop_with_process() -> None:
    """Have managers stopped at the end of a child of `multiprocessing`, which skips `atexit`.

    Called at each start of a manager, because such a child drops the hooks that it inherits.
    """
    pid = os.getpid()
    # Each child of multiprocessing has imported it. Other processes need not pay for the import.
    multiprocessing = imported("multiprocessing.process")
    if pid in _hooked or multiprocessing is None or multiprocessing.parent_process() is None:
        return
    from multiprocessing import util  # noqa: PLC0415 - see above

    _hooked.clear()
    _hooked.add(pid)
    # Runs after hooks with a higher priority, such as those of the child's own pools.
    util.Finalize(None, stop_all, exitpriority=0)


def stop_all() -> None:
    """Stop every manager at once, within one common budget."""
    notice_fork()  # for a child that ends before its first request
    deadline = Deadline(STOP_TIMEOUT)
    thread_pool.shut_down_pools(deadline)
    # A function of a pool that does not end also holds its thread's loop. Do not wait for it twice.
    left = max(deadline.left() or 0.0, STOP_TIMEOUT / 10)
    managers = manager.AsyncioLoopManager.all_instances()
    lives = [manager.lifecycle_of(one) for one in managers]
    for wait in [life.ask_to_stop(left) for life in lives if not life.given_up]:
        try:
            wait()
        except RuntimeError:  # pragma: no cover - threading cannot join it
            pass  # this manager cannot be waited for, but the others can


def _forget_parent() -> None:
    # A lock that another thread held at the fork is held forever: take none, replace all.
    _inherited.extend(life.inherit() for life in manager.forget_all())
    threads.reset()
    forget_seat()
    thread_pool.forget_pools()
    open_streams.reset()
