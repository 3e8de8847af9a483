"""Notice forks, also those that do not run Python's fork hooks.

`os.fork()` runs the hooks that were passed to `os.register_at_fork()`. A server that embeds Python
may fork in C and skip them: uWSGI does, unless an option tells it to call them. So the code that
hands out managers compares the process's id first.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from wsgi_async.core.base.primitives import new_mutex

from .log import logger

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["imported", "install_fork_hook", "notice_fork", "warn_of_silent_forks"]

_UWSGI_OPTIONS = {"lazy", "lazy-apps", "py-call-uwsgi-fork-hooks"}
"""With any of these, no worker inherits threads that Python wrongly believes to be alive."""


class _State:
    """What we know about this process. Lives as long as the process."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.in_child: Callable[[], None] = _nothing
        self.warned = False
        # Guards all fields above. A child makes a new one: another thread may have held the lock at
        # the fork.
        self.lock = new_mutex()


def _nothing() -> None:  # pragma: no cover - replaced when the package is imported
    pass


_state = _State()


def install_fork_hook(in_child: Callable[[], None]) -> None:
    """Set the function that each forked child calls once, before it gets a manager. At import."""
    _state.in_child = in_child
    if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no fork
        os.register_at_fork(after_in_child=_after_fork)


def notice_fork() -> None:
    """Do what the fork hook does, if this is a forked child in which the hook has not run."""
    if os.getpid() == _state.pid:
        return
    # Several threads may get here at once. All but one wait until the parent's managers are gone.
    with _state.lock:
        if os.getpid() != _state.pid:  # pragma: no branch - another thread was faster
            _forget_parent()


def imported(name: str) -> Any:
    """A module, or None if it has not been imported. Each start of a manager calls this.

    In a free-threaded build, another thread may hold the lock inside a dict at the fork. That lock
    is never released in the child. `dict.get()` takes the lock, a subscript does not.
    """
    try:
        return sys.modules[name]
    except KeyError:
        return None


def warn_of_silent_forks(label: Callable[[], str]) -> None:
    """Warn once, with the option to set, if this process will fork without Python's fork hooks.

    Called when a manager has been started. Its threads do not exist in the child. A lock that one
    of them held at the fork is held forever there, also if it is CPython's own. None of our code
    runs in the child at that point, so it cannot warn there.
    """
    if _state.warned or not _forks_silently(imported("uwsgi")):
        return
    _state.warned = True
    logger.warning(
        "%s was started in uWSGI's master, whose workers are forked without Python's fork hooks "
        "and may hang at their start. Set py-call-uwsgi-fork-hooks = true, or load the app in the "
        "workers (lazy-apps = true).",
        label(),
    )


def _forks_silently(uwsgi: Any) -> bool:
    """Whether this process forks uWSGI's workers. The module exists inside uWSGI only."""
    if not hasattr(uwsgi, "masterpid"):
        return False  # not in uWSGI, or the module is a stand-in
    if uwsgi.worker_id() or _UWSGI_OPTIONS.intersection(uwsgi.opt):
        return False
    master: int = uwsgi.masterpid()
    return master == os.getpid() or (not master and uwsgi.numproc > 1)


def _after_fork() -> None:
    _state.lock = new_mutex()
    _forget_parent()


def _forget_parent() -> None:
    _state.in_child()
    _state.pid = os.getpid()  # last, because it lets the other threads pass
