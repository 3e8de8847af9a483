"""The board's database: made before the service starts, and transactions on it.

`set_up` runs where no event loop is, so it uses a sync driver. Whatever a request or a task does
goes through an async one, on what each loop keeps open (see `databases`).
"""

import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any

from example_app.databases.tables import Transaction
from example_app.demo import DEMO_PATHS
from example_app.settings import Database, Settings, SettingsError


class DatabaseError(Exception):
    """The database cannot be used at the moment."""


def set_up(settings: Settings) -> str:
    """Make the database if it is not there yet; safe in several processes at once.

    Returns:
        The key that signs the session cookies: made once and kept with the data, since all worker
        processes need the same one.

    Raises:
        SettingsError: the database cannot be used.
    """
    fresh = {"key": secrets.token_urlsafe(32)}
    try:
        backend = _backend(settings.database)
    except ImportError as error:
        raise SettingsError(
            f"The database needs a driver ({error}); install '.[cluster]'"
        ) from error
    try:
        backend.make(settings.database)
        with backend.opened(settings.database) as db:
            db.execute(
                "INSERT INTO facts VALUES ('secret key', :key) ON CONFLICT DO NOTHING", fresh
            )
            ((key,),) = db.rows("SELECT value FROM facts WHERE name = 'secret key'")
    except (OSError, *backend.ERRORS) as error:
        raise SettingsError(
            f"The database {settings.database_name} cannot be used ({_in_a_line(error)}); set"
            " STATUS_BOARD_DB to the path of a file that can be written, or to postgresql://..."
        ) from error
    if settings.port:  # with port 0 the server chooses one, and tells later
        seed(settings.database, settings.base_url)
    return str(key)


def seed(database: Database, base_url: str) -> None:
    """Put the service's own endpoints on a new board, and on an old one follow their address.

    Those that a user has removed stay away.

    Args:
        database: where the data is.
        base_url: where the service reaches itself, without a trailing slash.
    """
    with _backend(database).opened(database) as db:
        new = db.execute("INSERT INTO facts VALUES ('seeded', 'yes') ON CONFLICT DO NOTHING")
        for demo in DEMO_PATHS:
            db.execute(_SEED if new else _FOLLOW, {"url": base_url + demo, "demo": demo})


# A user may have added the very same address.
_SEED = "INSERT INTO urls (url, demo) VALUES (:url, :demo) ON CONFLICT DO NOTHING"
_FOLLOW = (
    "UPDATE urls SET url = :url WHERE demo = :demo"
    " AND NOT EXISTS (SELECT 1 FROM urls WHERE url = :url)"
)


@asynccontextmanager
async def reading(database: Database) -> AsyncGenerator[Transaction, None]:
    """Read from the database, all of it as it is at one moment.

    Raises:
        DatabaseError: it cannot be used.
    """
    async with _turn(database, writing=False) as db:
        yield db


@asynccontextmanager
async def transaction(database: Database) -> AsyncGenerator[Transaction, None]:
    """Write to the database, all or nothing; one writer at a time.

    Raises:
        DatabaseError: it cannot be used.
    """
    async with _turn(database, writing=True) as db:
        yield db


@asynccontextmanager
async def _turn(database: Database, *, writing: bool) -> AsyncGenerator[Transaction, None]:
    backend = _backend(database)
    try:
        async with backend.turn(database, writing=writing) as db:
            yield db
    except backend.ERRORS as error:
        raise DatabaseError(str(error)) from error


def _in_a_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _backend(database: Database) -> Any:
    """The module for it; `make run` installs no driver for PostgreSQL."""
    name = "postgres" if isinstance(database, str) else "sqlite"
    return import_module(f"example_app.databases.{name}")
