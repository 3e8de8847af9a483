"""A board on a database of its own, with nothing watched, for each test."""

from __future__ import annotations

import atexit
import os
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from wsgi_async import AsyncioLoopManager
from wsgi_async.routing import override_routes

# Importing example_app.app makes an app from the environment; keep it away from the checkout.
_folder = tempfile.TemporaryDirectory(prefix="status-board-")
atexit.register(_folder.cleanup)
os.environ["STATUS_BOARD_DB"] = str(Path(_folder.name, "board.sqlite3"))

with warnings.catch_warnings():
    # WebOb imports `cgi`, which Python 3.11 and 3.12 deprecate.
    warnings.simplefilter("ignore", DeprecationWarning)
    import webtest  # noqa: F401

from example_app.database import set_up  # noqa: E402
from example_app.rounds import routes  # noqa: E402
from example_app.settings import Settings  # noqa: E402
from example_app.store import Store  # noqa: E402
from tests.example.browser import chromium  # noqa: E402, F401 - a fixture
from tests.example.local import LocalServer  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _checks_are_done_here() -> Iterator[None]:
    """As on one host."""
    with override_routes(routes(Settings())):
        yield


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings for a board without the demo endpoints: with port 0 they are put there later."""
    return Settings(
        port=0, database=tmp_path / "board.sqlite3", check_interval=0.05, check_timeout=5.0
    )


@pytest.fixture
def store(settings: Settings) -> Store:
    """The store of that board, its tables made."""
    set_up(settings)
    return Store(settings.database)


@pytest.fixture
def manager() -> Iterator[AsyncioLoopManager]:
    """A started manager; stopped at the end."""
    manager = AsyncioLoopManager("test")
    manager.start()
    yield manager
    manager.stop()


@pytest.fixture
def local() -> Iterator[LocalServer]:
    """An HTTP server that keeps connections open, counts, and answers as it is told."""
    with LocalServer() as server:
        yield server
