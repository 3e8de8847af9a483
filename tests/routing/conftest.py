from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from wsgi_async.routing import override_routes

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Routes belong to the process: what a test sets ends with it."""
    with override_routes({}):
        yield
