"""The programs of the cluster, found on this machine or named as missing."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_POSTGRES = ("initdb", "postgres")


class MissingError(Exception):
    """Programs are not installed here; the message names them and their packages."""


@dataclass(frozen=True, slots=True)
class Programs:
    """Where the programs are; `postgres` is the folder of PostgreSQL's."""

    nginx: Path
    redis: Path
    postgres: Path


def find() -> Programs:
    """Find all programs.

    Raises:
        MissingError: one or more are not here.
    """
    nginx, redis, postgres = _in_folders("nginx"), _in_folders("redis-server"), _postgres()
    if nginx is None or redis is None or postgres is None:
        found = {"nginx": nginx, "redis-server": redis, "postgresql": postgres}
        missing = [name for name, path in found.items() if path is None]
        raise MissingError(
            f"{', '.join(missing)} cannot be found. Install the package of this name"
            f" (apt-get install {' '.join(missing)}), or have its programs on the PATH"
        )
    return Programs(nginx, redis, postgres)


def _in_folders(name: str) -> Path | None:
    # Debian keeps servers in sbin, which is not on everybody's PATH.
    path = os.pathsep.join([*os.get_exec_path(), "/usr/sbin", "/usr/local/sbin"])
    found = shutil.which(name, path=path)
    return Path(found) if found else None


def _postgres() -> Path | None:
    for folder in _postgres_folders():
        if all(os.access(folder / name, os.X_OK) for name in _POSTGRES):
            return folder
    return None


def _postgres_folders() -> Iterator[Path]:
    """Where Debian has it, newest first, then the PATH."""
    versions = Path("/usr/lib/postgresql").glob("*/bin")
    yield from sorted(versions, key=lambda folder: float(folder.parent.name), reverse=True)
    yield from map(Path, os.get_exec_path())
