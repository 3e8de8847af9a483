"""A PostgreSQL server of the tests' own: with a data folder of its own, gone when they are done."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.servers.process import LIMIT, wait_until

if TYPE_CHECKING:
    from types import TracebackType

MISSING = "no PostgreSQL here: install Debian's postgresql, or have its programs on the PATH"


_PROGRAMS = ("initdb", "postgres", "pg_isready", "createdb")


def programs() -> Path | None:
    """The folder of the server's programs, which Debian keeps off the PATH; None without any."""
    versions = Path("/usr/lib/postgresql").glob("*/bin")
    newest_first = sorted(versions, key=lambda folder: float(folder.parent.name), reverse=True)
    on_path = [Path(folder) for folder in os.get_exec_path()]
    for folder in [*newest_first, *on_path]:
        if all((folder / name).exists() for name in _PROGRAMS):
            return folder
    return None


class Postgres:
    """The server. Lives in a `with` block.

    It listens on a socket in its folder alone, so no port is taken that could be another's.
    """

    def __init__(self, folder: Path) -> None:
        self._programs = folder
        self._home = Path(tempfile.mkdtemp(prefix="wsgi_async_pg_"))
        self._numbers = count(1)
        # It refuses to run as root.
        self._user: dict[str, Any] = _somebody() if os.geteuid() == 0 else {}
        if self._user:
            os.chown(self._home, self._user["user"], self._user["group"])

    def __enter__(self) -> Postgres:
        data = self._home / "data"
        self._run("initdb", "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "-N")
        options = ["-c", "listen_addresses=", "-c", "fsync=off", "-k", str(self._home)]
        self._log = (self._home / "log").open("wb")
        self._server = subprocess.Popen(
            [self._programs / "postgres", "-D", str(data), *options],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            cwd=self._home,
            **self._user,
        )
        try:
            wait_until(self._is_ready, what="PostgreSQL takes connections")
        except BaseException as error:
            error.add_note((self._home / "log").read_text())
            self.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.send_signal(signal.SIGQUIT)  # at once, and whoever is connected
        self._server.wait(LIMIT)
        self._log.close()
        shutil.rmtree(self._home)

    def create_database(self) -> str:
        """A new, empty database; its URL."""
        name = f"site{next(self._numbers)}"
        self._run("createdb", "-h", str(self._home), "-U", "postgres", name)
        return f"postgresql:{self._home}:{name}"

    def _is_ready(self) -> bool:
        assert self._server.poll() is None, "PostgreSQL did not start"
        asked = [self._programs / "pg_isready", "-q", "-h", str(self._home)]
        return subprocess.run(asked, timeout=LIMIT, check=False).returncode == 0

    def _run(self, program: str, *args: str) -> None:
        subprocess.run(
            [self._programs / program, *args],
            check=True,
            capture_output=True,
            timeout=LIMIT,
            cwd=self._home,
            **self._user,
        )


def _somebody() -> dict[str, Any]:
    """The user that the package has made, or else nobody."""
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = known.get("postgres") or known["nobody"]
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
