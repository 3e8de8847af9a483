"""A pytest plugin for asgiref's own tests: they run with our `async_to_sync` in place of its own.

`.ci/upstream asgiref` runs them with it.
"""

from __future__ import annotations

import threading

import pytest
from asgiref.sync import AsyncToSync

from wsgi_async.integrations import asgiref

FAIL: dict[str, str] = {}
"""The tests that may fail, and why."""

if threading.current_thread() is not threading.main_thread():  # `--resident`
    _reason = "it wants the coroutine on another thread than the caller's, on which its loop lives"
    FAIL["tests/test_sync.py::test_async_single_thread_context_matches"] = _reason
    FAIL["tests/test_sync.py::test_async_single_thread_nested_context"] = _reason

asgiref.install()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that may fail."""
    for item in items:
        if (reason := FAIL.get(item.nodeid)) is not None:
            item.add_marker(pytest.mark.xfail(reason=reason, strict=False))


def pytest_sessionfinish() -> None:
    """See that nobody has taken ours away."""
    assert asgiref.installed(), AsyncToSync.__call__
