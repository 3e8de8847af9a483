"""What it was measured on, without what would tell whose machine it is."""

from __future__ import annotations

import gc
import os
import platform
import re
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.requests import CONNECTIONS, client
from benchmarks.server import THREADS, WORKERS

PACKAGES = (
    "wsgi_async",
    "anyio",
    "asgiref",
    "celery",
    "flask",
    "werkzeug",
    "gunicorn",
    "httpx2",
    "redis",
    "uvloop",
    "waitress",
)
"""Packages whose versions matter."""

Facts = dict[str, str | int | float | list[int] | dict[str, str] | None]
"""Name: a fact, ready for JSON."""


def facts() -> Facts:
    """Return what the figures depend on."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": cpu(),
        "cores": cores(),
        "load_before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "system": f"{platform.system()} {release()}".strip(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": {name: found for name in PACKAGES if (found := installed(name))},
        "gc_threshold": list(gc.get_threshold()) if gc.isenabled() else [],
        "switch_interval": sys.getswitchinterval(),
        "server": f"gunicorn gthread, {WORKERS} worker(s) with {THREADS} threads",
        "client": f"{client()}, {CONNECTIONS} connections",
    }


def cpu() -> str:
    """Return the model of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def release() -> str:
    """Return the version of the system's kernel, without what a builder adds to it."""
    return ".".join(re.findall(r"\d+", platform.release())[:2])


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def installed(name: str) -> str | None:
    """Return the version of a package, or None where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def debug_modes() -> list[str]:
    """Return the debug modes that are on: with one of them no figure means anything."""
    modes = {
        "-X dev (or PYTHONDEVMODE)": sys.flags.dev_mode,
        "PYTHONASYNCIODEBUG": bool(os.environ.get("PYTHONASYNCIODEBUG")),
        "tracing (a debugger or coverage)": sys.gettrace() is not None,
        "assertions in C (a debug build of Python)": hasattr(sys, "gettotalrefcount"),
    }
    return [name for name, on in modes.items() if on]
