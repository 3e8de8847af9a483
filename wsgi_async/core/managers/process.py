"""What happens to all managers at once: the process's exit, and a fork."""

from __future__ import annotations

import atexit
from typing import Any

from . import lineage, manager, timer
from .forks import install_fork_hook, notice_fork

__all__ = ["install_hooks"]

_inherited: list[Any] = []
"""The parent process's drivers and loops, kept for ever: see `Life.inherit`."""


def install_hooks() -> None:
    """Register the exit hook and the fork hook. Called once, at import."""
    # atexit runs after all non-daemon threads have been joined, so never under a request that
    # still runs. gunicorn's worker_exit and threading._register_atexit do run under it.
    atexit.register(_stop_all)
    install_fork_hook(_forget_parent)


def _stop_all() -> None:
    """Stop every manager at once, within one common budget."""
    notice_fork()  # a child that ends before its first request
    lives = [one.life for one in manager.AsyncioLoopManager.all_instances()]
    for wait in [life.ask_to_stop() for life in lives if not life.given_up]:
        wait()


def _forget_parent() -> None:
    # Other threads' locks may be held for ever here: none is taken, all are replaced.
    _inherited.extend(life.inherit() for life in manager.forget_all())
    lineage.reset()
    timer.reset()
