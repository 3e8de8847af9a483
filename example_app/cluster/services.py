"""What stands around the board: Redis, PostgreSQL and nginx, with their files in one folder."""

import os
import pwd
import re
import signal
import socket
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from example_app.cluster.processes import EndedError, Processes, listens
from example_app.cluster.programs import Programs
from example_app.settings import Settings

_NGINX = Path(__file__).resolve().parents[2] / "deploy" / "nginx.conf"
_KINDS = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def redis(processes: Processes, programs: Programs, port: int) -> str:
    """Start a Redis that keeps its data in memory; its URL."""
    command: list[str | Path] = [programs.redis, "--bind", "127.0.0.1", "--port", str(port)]
    processes.start(
        "Redis",
        [*command, "--save", "", "--dir", processes.folder],
        ready=lambda: listens("127.0.0.1", port),
        log=processes.folder / "redis.log",
    )
    return f"redis://127.0.0.1:{port}/0"


def postgres(processes: Processes, programs: Programs) -> str:
    """Start a PostgreSQL that listens on a socket in the folder alone; its URL."""
    home = processes.folder / "postgres"
    home.mkdir(mode=0o700)
    user = _somebody() if os.geteuid() == 0 else {}  # it refuses to run as root
    if user:
        os.chown(home, user["user"], user["group"])
    _initdb(programs.postgres / "initdb", home / "data", user)
    command: list[str | Path] = [programs.postgres / "postgres", "-D", home / "data", "-k", home]
    # The data is as short-lived as the cluster. Each loop has a connection.
    options = ("listen_addresses=", "fsync=off", "max_connections=500")
    processes.start(
        "PostgreSQL",
        [*command, *(part for option in options for part in ("-c", option))],
        ready=lambda: _takes_connections(home / ".s.PGSQL.5432"),
        stop_by=signal.SIGINT,  # without waiting for whoever is connected
        log=processes.folder / "postgres.log",
        user={**user, "cwd": home},
    )
    return f"postgresql://postgres@/postgres?host={home}"


def _initdb(program: Path, data: Path, user: dict[str, Any]) -> None:
    command: list[str | Path] = [
        program,
        "-D",
        data,
        "-U",
        "postgres",
        "-A",
        "trust",
        "-E",
        "UTF8",
        "-N",
    ]
    done = subprocess.run(  # noqa: S603 - a program that we have found
        command, capture_output=True, text=True, check=False, cwd=data.parent, **user
    )
    if done.returncode:
        raise EndedError(f"PostgreSQL's initdb has failed\n{done.stderr}")


def _takes_connections(path: Path) -> bool:
    with suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
        probe.connect(str(path))
        return True
    return False


def _somebody() -> dict[str, Any]:
    """The user that PostgreSQL's package has made, or else nobody."""
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = known.get("postgres") or known["nobody"]
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def nginx(
    processes: Processes,
    programs: Programs,
    settings: Settings,
    boards: Sequence[str],
) -> None:
    """Start an nginx with the settings of `deploy/`, in front of boards at `host:port`."""
    folder = processes.folder
    config = folder / "nginx.conf"
    config.write_text(nginx_config(_NGINX.read_text(), settings.bind, boards, folder))
    host = settings.host if settings.host not in ("0.0.0.0", "::") else "localhost"  # noqa: S104
    options = f"daemon off; pid {folder / 'nginx.pid'}; error_log stderr notice;"
    processes.start(
        "nginx",
        [programs.nginx, "-c", config, "-p", folder, "-g", options],
        ready=lambda: (folder / "nginx.pid").exists() and listens(host, settings.port),
        log=folder / "nginx.log",
    )


def nginx_config(text: str, bind: str, boards: Sequence[str], folder: Path) -> str:
    """The settings of `deploy/`, with other addresses, and with all files in one folder."""
    for number, board in enumerate(boards, 1):
        text = text.replace(f"board-{number}:8000", board)
    files = " ".join(f"{kind}_temp_path {folder / kind};" for kind in _KINDS)
    text = re.sub(r"listen 8000;", f"listen {bind}; access_log off; {files}", text)
    return text.replace("worker_processes auto", "worker_processes 1")
