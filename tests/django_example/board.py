"""The Django example as `make run-django` serves it, on a free port."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from tests.servers.process import LIMIT, Server, child_environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

READY = r"Listening at: http://127\.0\.0\.1:(\d+)"


def manage(
    checkout: Path, database: Path, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """One of Django's commands, in which a warning is an error."""
    script = str(checkout / "django_example" / "manage.py")
    return subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", script, *arguments],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        env=child_environment(STATUS_BOARD_DB=str(database), **environment),
        check=False,
    )


@contextmanager
def board(
    checkout: Path, database: Path, worker_class: str | None = None, **environment: str
) -> Iterator[Server]:
    """The example, serving."""
    given = {
        "HOST": "127.0.0.1",
        "PORT": "0",
        "WORKERS": "2",
        "THREADS": "4",
        "CHECK_INTERVAL": "0.2",
        "CHECK_TIMEOUT": "2",
        "STATUS_BOARD_DB": str(database),
        # With the worker class that is asked for, else with the example's own.
        "GUNICORN_CMD_ARGS": f"--worker-class {worker_class}" if worker_class else "",
    }
    config = str(checkout / "django_example" / "gunicorn.conf.py")
    with Server("-m", "gunicorn", "--config", config, **(given | environment)) as server:
        yield server.ready(READY)


@contextmanager
def _writing(database: Path) -> Iterator[sqlite3.Connection]:
    """Change the database while it is in use, past the board."""
    with closing(sqlite3.connect(database, timeout=LIMIT, isolation_level="IMMEDIATE")) as db:
        yield db
        db.commit()


def watch(database: Path, url: str) -> None:
    """Put an address on the board, past its form."""
    with _writing(database) as db:
        db.execute("INSERT INTO status_address (url) VALUES (?)", (url,))


def forget(database: Path, url: str = "%") -> None:
    """Take addresses that are like this off the board."""
    with _writing(database) as db:
        like = "SELECT id FROM status_address WHERE url LIKE ?"
        db.execute(f"DELETE FROM status_check WHERE address_id IN ({like})", (url,))
        db.execute(f"DELETE FROM status_address WHERE id IN ({like})", (url,))
