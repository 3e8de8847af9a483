"""A Django project behind a real gunicorn, on SQLite and on PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integrations.django.postgres import MISSING, Postgres, programs
from tests.servers.needed import POSTGRES, do_without
from tests.servers.process import gunicorn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.process import Server

WSGI = "tests.integrations.django.project.wsgi:application"

WORKERS = {
    "keeper": "gthread",
    "resident": "wsgi_async.integrations.gunicorn.LoopThreadWorker",
}
"""gunicorn's worker class, by where the loops of its threads live."""


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The PostgreSQL of this test run; a skip where there is none."""
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    folder = programs()
    if folder is None:
        do_without(MISSING, POSTGRES)
    with Postgres(folder) as server:
        yield server


@pytest.fixture(scope="module")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where an empty SQLite database is, for the project's settings."""
    return f"sqlite::{tmp_path_factory.mktemp('database') / 'db.sqlite3'}"


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, sqlite: str) -> str:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return sqlite
    postgres: Postgres = request.getfixturevalue("postgres")
    return postgres.create_database()


@pytest.fixture(scope="module", params=list(WORKERS))
def runner(request: pytest.FixtureRequest) -> str:
    """Whether loops live beside the worker threads, or on them."""
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def site(database: str, runner: str) -> Iterator[Server]:
    """The project as it comes, served by two threads."""
    worker_class = WORKERS[runner]
    with gunicorn(WSGI, "--threads=2", worker_class=worker_class, DATABASE=database) as server:
        yield server


@pytest.fixture(scope="module")
def strict_site(database: str, runner: str) -> Iterator[Server]:
    """With transactions around views and connections that stay open, served by two threads."""
    options = {"ATOMIC_REQUESTS": "yes", "CONN_MAX_AGE": "60", "DATABASE": database}
    with gunicorn(WSGI, "--threads=2", worker_class=WORKERS[runner], **options) as server:
        yield server
