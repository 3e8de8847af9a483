"""The example as `make run` serves it, and its streams as a browser reads them."""

from __future__ import annotations

import http.client
import sqlite3
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.servers.process import LIMIT, Server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

READY = r"Listening: the status board is at http://127\.0\.0\.1:(\d+)/$"


@contextmanager
def board(
    checkout: Path, database: Path, worker_class: str | None = None, **environment: str
) -> Iterator[Server]:
    """The example as `make run` serves it, on a free port."""
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
    config = str(checkout / "example_app" / "gunicorn.conf.py")
    with Server("-m", "gunicorn", "--config", config, **(given | environment)) as server:
        yield server


def watch_only(database: Path, url: str) -> None:
    with closing(sqlite3.connect(database)) as db:
        db.execute("DELETE FROM urls")
        db.execute("INSERT INTO urls (url) VALUES (?)", (url,))
        db.commit()


@dataclass
class Event:
    """One event, or one comment, of a stream."""

    id: str = ""
    data: str = ""
    retry: str = ""
    comment: str = ""


@dataclass
class Stream:
    """An open stream; lives in a `with closing(...)` block."""

    status: int
    headers: http.client.HTTPMessage
    response: http.client.HTTPResponse
    connection: http.client.HTTPConnection

    def next(self) -> Event | None:
        """Wait for what comes next; None at the end."""
        found: dict[str, list[str]] = {}
        while line := self.response.readline().decode():
            if line == "\n":
                return Event(**{name: "\n".join(lines) for name, lines in found.items()})
            name, _, value = line.rstrip("\n").partition(": ")
            found.setdefault(name or "comment", []).append(value)
        return None

    def next_with_data(self) -> Event:
        """Wait for the next event that the page would see."""
        while (event := self.next()) is not None:
            if event.data:
                return event
        raise AssertionError("the stream has ended")

    def close(self) -> None:
        """Go away, as a browser does whose tab is closed."""
        self.response.close()
        self.connection.close()


def open_stream(server: Server, *, seen: str | None = None) -> Stream:
    """Ask for the events, with the id of the last one that was seen."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=LIMIT)
    connection.request("GET", "/events", headers={"Last-Event-ID": seen} if seen else {})
    response = connection.getresponse()
    return Stream(response.status, response.headers, response, connection)
