"""PostgreSQL and Redis on a host, and what the tests ask of them."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import redis

from tests.integrations.django import postgres
from tests.servers.process import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.deploy.hosts import Host

_TABLES = "".join(
    f"CREATE TABLE {name} (text text, host text);" for name in ("asked", "begun", "done")
)


def missing() -> str | None:
    """Which program is not here, if so."""
    if postgres.programs() is None:
        return postgres.MISSING
    if shutil.which("redis-server") is None:
        return "redis-server is not installed (Debian's package redis-server)"
    return None if shutil.which("setpriv") else "setpriv is not installed (util-linux)"


class Data:
    """The data of all hosts. Lives as long as its servers.

    Args:
        host: Where they are.
    """

    def __init__(self, host: Host) -> None:
        self.environment = {
            "POSTGRES": f"postgresql://postgres@{host.address}/postgres",
            "REDIS": f"redis://{host.address}:6379/0",
        }

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """What PostgreSQL answers."""
        with psycopg.connect(self.environment["POSTGRES"]) as db:
            return db.execute(sql.encode()).fetchall()

    def waiting(self) -> int:
        """Tasks in the queue, and those that no worker has acknowledged."""
        with redis.Redis.from_url(self.environment["REDIS"]) as client:
            return int(client.llen("notes")) + int(client.hlen("unacked"))

    def wait_until_done(self, tasks: list[str]) -> None:
        """Until the queue is empty; all of these tasks must have been done.

        A busy machine takes as long as it needs, as long as the queue gets shorter.
        """
        while waiting := self.waiting():
            wait_until(lambda: self.waiting() < waiting, what=f"fewer than {waiting} tasks")
        # A task that Celery has just taken is in neither of the two for a moment.
        wait_until(lambda: self._done() >= set(tasks), what="all tasks done")

    def _done(self) -> set[str]:
        return {task for (task,) in self.rows("SELECT text FROM done")}

    def done_again(self, tasks: list[str]) -> list[list[str]]:
        """The hosts of each of these tasks that was done more than once."""
        often = "SELECT text, array_agg(host) FROM done GROUP BY text HAVING count(*) > 1"
        return [hosts for task, hosts in self.rows(often) if task in tasks]


@contextlib.contextmanager
def data_on(host: Host) -> Iterator[Data]:
    """Have a PostgreSQL and a Redis on a host."""
    with tempfile.TemporaryDirectory(prefix="hosts_pg_") as name:
        _postgres(host, Path(name))
        quiet = ("--save", "", "--protected-mode", "no")
        host.start("redis", "redis-server", "--bind", host.address, *quiet).ready(
            "Ready to accept connections", port=0
        )
        host.servers["postgres"].ready("ready to accept connections", port=0)
        data = Data(host)
        with psycopg.connect(data.environment["POSTGRES"], autocommit=True) as db:
            db.execute(_TABLES.encode())
        yield data
        host.kill()


def _postgres(host: Host, folder: Path) -> None:
    programs = postgres.programs()
    assert programs is not None
    user = postgres._somebody()  # it refuses to run as root
    shutil.chown(folder, user["user"], user["group"])
    made = [str(programs / "initdb"), "-D", str(folder / "data"), "-U", "postgres"]
    made += ["-A", "trust", "-N"]
    subprocess.run(made, check=True, capture_output=True, cwd=folder, **user)
    with (folder / "data" / "pg_hba.conf").open("a") as rules:
        rules.write("host all all samenet trust\n")
    host.start(
        "postgres",
        *("setpriv", f"--reuid={user['user']}", f"--regid={user['group']}", "--clear-groups"),
        *(str(programs / "postgres"), "-D", str(folder / "data"), "-k", str(folder)),
        *("-c", f"listen_addresses={host.address}", "-c", "fsync=off"),
    )
