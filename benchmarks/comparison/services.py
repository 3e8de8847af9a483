"""What the views call: an HTTP server, Redis and PostgreSQL, each in processes of its own."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.comparison.apps.settings import Settings
from benchmarks.comparison.views import View
from benchmarks.redis_server import GRACE, redis_server
from benchmarks.timing import Missing
from benchmarks.upstream_server import upstream

PROGRAMS = ("initdb", "postgres", "psql")

FILLED = "CREATE TABLE fact (id int PRIMARY KEY, text text); INSERT INTO fact VALUES (1, 'ok')"

MOST = 1000
"""Connections that PostgreSQL takes: all contenders of a view are connected at the same time."""


@contextmanager
def services(view: View) -> Iterator[Settings]:
    """Have what a view calls; gives settings of an app that tell where it is.

    Raises:
        Missing: Something is not installed.
    """
    if absent := [name for name in view.needs if find_spec(name) is None]:
        raise Missing(f"{', '.join(absent)} is not installed")
    with ExitStack() as stack:
        found = Settings("", upstream=stack.enter_context(upstream()))
        if view.service == "redis":
            found = found._replace(redis=stack.enter_context(redis_server()))
        if view.service == "postgres":
            found = found._replace(postgres=stack.enter_context(postgres_server()))
        yield found


def programs() -> Path:
    """Return the folder of PostgreSQL's programs, which Debian keeps off the PATH.

    Raises:
        Missing: There is none.
    """
    versions = Path("/usr/lib/postgresql").glob("*/bin")
    newest_first = sorted(versions, key=lambda folder: float(folder.parent.name), reverse=True)
    for folder in [*newest_first, *map(Path, os.get_exec_path())]:
        if all((folder / name).exists() for name in PROGRAMS):
            return folder
    raise Missing("PostgreSQL is not installed (Debian's package postgresql)")


@contextmanager
def postgres_server() -> Iterator[str]:
    """Have a PostgreSQL with one row in it; gives the folder of its socket.

    Raises:
        Missing: It is not installed.
        RuntimeError: It did not start.
    """
    found = programs()
    user = _somebody() if os.geteuid() == 0 else {}  # it refuses to run as root
    with tempfile.TemporaryDirectory(prefix="comparison_pg_") as folder:
        if user:
            os.chown(folder, user["user"], user["group"])
        options: dict[str, Any] = {"cwd": folder, "stdout": subprocess.DEVNULL, **user}
        options["stderr"] = subprocess.DEVNULL
        made: list[str | Path] = [found / "initdb", "-D", f"{folder}/data"]
        made += ["-U", "postgres", "-A", "trust", "-N"]
        subprocess.run(made, check=True, **options)
        with _running(found, folder, options):
            yield folder


@contextmanager
def _running(found: Path, folder: str, options: dict[str, Any]) -> Iterator[None]:
    command: list[str | Path] = [found / "postgres", "-D", f"{folder}/data", "-k", folder]
    for option in ("listen_addresses=", "fsync=off", f"max_connections={MOST}"):
        command += ["-c", option]
    server = subprocess.Popen(command, **options)
    try:
        _fill(found, folder, server)
        yield
    finally:
        server.send_signal(signal.SIGQUIT)  # at once, whoever is connected
        server.wait()


def _fill(found: Path, folder: str, server: subprocess.Popen[Any]) -> None:
    command: list[str | Path] = [found / "psql", "-q", "-h", folder, "-U", "postgres", "-c", FILLED]
    deadline = time.monotonic() + GRACE
    while subprocess.run(command, capture_output=True, check=False).returncode:
        if server.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("PostgreSQL did not start.")
        time.sleep(0.05)


def _somebody() -> dict[str, Any]:
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = known.get("postgres") or known["nobody"]
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
