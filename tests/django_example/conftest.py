"""A migrated database for each test, and something to check."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.django_example.board import manage
from tests.example.browser import chromium  # noqa: F401 - a fixture
from tests.example.local import LocalServer

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def migrated(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database as `manage.py migrate` leaves it."""
    database = tmp_path_factory.mktemp("django") / "board.sqlite3"
    done = manage(checkout, database, "migrate", "--verbosity", "0")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return database


@pytest.fixture
def database(migrated: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copy(migrated, tmp_path / "board.sqlite3"))


@pytest.fixture
def local() -> Iterator[LocalServer]:
    """An HTTP server that counts and answers as it is told."""
    with LocalServer() as server:
        yield server
