"""The folder with the processes' sockets, which only its user can open."""

from __future__ import annotations

import os
import stat
from pathlib import Path

__all__ = ["default_folders", "folder_of", "make_private", "private"]

_OTHERS = 0o077
"""The permissions of the group and of all others."""


def default_folders() -> list[Path]:
    """The default folders for sockets. This process puts its own socket into the first one.

    A server may have been started without `XDG_RUNTIME_DIR`, while the shell has that variable.
    """
    fallback = Path("/tmp", f"wsgi_async-{os.geteuid()}")  # noqa: S108 - it is checked
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return [Path(runtime, "wsgi_async"), fallback] if runtime else [fallback]


def folder_of(setting: str) -> Path | None:
    """The folder that a value of `WSGI_ASYNC_INSPECT` names; None for the default.

    Raises:
        ValueError: It is neither 1 nor an absolute path.
    """
    if setting == "1":
        return None
    if not Path(setting).is_absolute():
        raise ValueError(f"{setting!r} is neither 1 nor the absolute path of a folder.")
    return Path(setting)


def make_private(folder: Path) -> Path:
    """Make the folder if it does not exist.

    Raises:
        PermissionError: Others can open it, or it belongs to another user.
        OSError: It cannot be made.
    """
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        pass
    return private(folder)


def private(folder: Path) -> Path:
    """The folder, if it is private.

    Raises:
        PermissionError: Others can open it, or it belongs to another user.
        OSError: There is no such folder.
    """
    found = folder.lstat()  # the owner of a symbolic link could change its target
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(f"{folder} is not a folder, or it is a symbolic link.")
    if found.st_uid != os.geteuid():
        raise PermissionError(f"The folder {folder} belongs to another user. Name one of your own.")
    if stat.S_IMODE(found.st_mode) & _OTHERS:
        raise PermissionError(
            f"Other users can open the folder {folder}. Close it to them: chmod 700 {folder}"
        )
    return folder
