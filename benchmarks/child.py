"""Start Python again, with the same modules in sight."""

from __future__ import annotations

import os
import sys


def module(name: str, *arguments: str) -> list[str]:
    """Return the command that runs a module with this interpreter."""
    # -P: not the working directory but `environment()` says where modules are found.
    return [sys.executable, "-P", "-m", name, *arguments]


def environment() -> dict[str, str]:
    """Return this process's environment, without debug modes, and with its module path."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in {"PYTHONASYNCIODEBUG", "PYTHONDEVMODE", "PYTHONTRACEMALLOC"}
    }
    kept["PYTHONPATH"] = os.pathsep.join(path or os.getcwd() for path in sys.path)  # noqa: PTH109
    return kept
