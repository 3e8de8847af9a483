"""A pytest plugin for asgiref's own tests: they run with our `async_to_sync` in place of its own.

`.ci/upstream asgiref` runs them with it.
"""

from __future__ import annotations

import pytest
from asgiref.sync import AsyncToSync

from wsgi_async.integrations import asgiref

FAIL: dict[str, str] = {}
"""The tests that may fail, and why."""

asgiref.install()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that may fail."""
    for item in items:
        if (reason := FAIL.get(item.nodeid)) is not None:
            item.add_marker(pytest.mark.xfail(reason=reason, strict=False))


def pytest_sessionfinish() -> None:
    """See that nobody has taken ours away."""
    assert asgiref.installed(), AsyncToSync.__call__
