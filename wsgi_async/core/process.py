"""What happens to all managers at once: the process's exit, and a fork."""

from __future__ import annotations

import atexit
import os
import time
from typing import Any

from . import lineage, manager, timer
from .lifecycle import STOP_TIMEOUT

__all__ = ["install_hooks"]

_inherited: list[Any] = []
"""The parent process's drivers and loops, kept for ever: see `Life.inherit`."""


def install_hooks() -> None:
    """Register the exit hook and the fork hook. Called once, at import."""
    # atexit runs after all non-daemon threads have been joined, so never under a request that
    # still runs. gunicorn's worker_exit and threading._register_atexit do run under it.
    atexit.register(_stop_all)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_after_fork)


def _stop_all() -> None:
    """Stop every manager at once, within one common budget."""
    deadline = time.monotonic() + STOP_TIMEOUT
    lives = [one._life for one in manager.AsyncioLoopManager.all_instances()]
    asked = [(life, life._ended, life._keeper, life.request_stop()) for life in lives]
    for life, ended, keeper, driver in asked:
        if driver is not None and keeper is not None:
            life.wait_stopped(driver, ended, keeper, deadline)


def _after_fork() -> None:
    # Other threads' locks may be held for ever here: none is taken, all are replaced.
    for one in list(manager._instances):
        _inherited.append(one._life.inherit())
    manager._instances.clear()
    lineage.reset()
    timer.reset()
