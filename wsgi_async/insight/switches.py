"""Features that environment variables turn on, when a manager starts.

If a feature's variable is not set, its module is not even imported.
"""

from __future__ import annotations

import importlib
import logging
import os

from wsgi_async.core.base.log import report
from wsgi_async.core.managers.manager import on_start

__all__ = ["install"]

_SWITCHES = {"WSGI_ASYNC_INSPECT": "wsgi_async.inspector.sockets"}
"""For each variable, a module whose `switch_on()` takes the value."""

_failed: set[tuple[str, str]] = set()
"""Failures that have been logged. No lock: to log one twice does no harm."""


def install() -> None:
    """Check the variables at each start of a manager. Called once, at import."""
    on_start(_look)


def _look() -> None:
    for variable, name in _SWITCHES.items():
        value = os.environ.get(variable)
        if value and value != "0" and (variable, value) not in _failed:
            _switch_on(variable, value, name)


def _switch_on(variable: str, value: str, name: str) -> None:
    # The manager is needed, and the feature is not: an error here is only logged.
    try:
        importlib.import_module(name).switch_on(value)
    except Exception as error:
        _failed.add((variable, value))
        report(logging.WARNING, "%s=%s has no effect: %s", variable, value, error, error=error)
