from __future__ import annotations

import pytest

from wsgi_async.routing.tasks import table


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Routes and functions belong to the process: what a test adds ends with it."""
    monkeypatch.setattr(table, "routes", table.routes)
    monkeypatch.setattr(table, "_tasks", dict(table._tasks))
