"""What a server and its children take: CPU time, memory, connections. Linux tells it in /proc."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")
TICKS = os.sysconf("SC_CLK_TCK")
ESTABLISHED = "01"


def tree(root: int) -> list[int]:
    """Return a process and all below it."""
    children: dict[int, list[int]] = {}
    for stat in PROC.glob("[0-9]*/stat"):
        with suppress(OSError):  # a process may end meanwhile
            children.setdefault(int(_fields(stat)[1]), []).append(int(stat.parent.name))
    found = [root]
    for process in found:
        found += children.get(process, [])
    return found


def cpu_seconds(root: int) -> float:
    """Return the CPU time that a process tree has used so far."""
    return sum(_ticks(process) for process in tree(root)) / TICKS


def _ticks(process: int) -> int:
    with suppress(OSError):
        # utime and stime, the 14th and 15th, counted from the state, which is the third.
        return sum(int(field) for field in _fields(PROC / str(process) / "stat")[11:13])
    return 0


def _fields(stat: Path) -> list[str]:
    """Return what follows the name, which may hold spaces and parentheses."""
    return stat.read_text().rpartition(")")[2].split()


def memory(root: int) -> float:
    """Return the memory of a tree in MiB; of what processes share, each has its part."""
    return sum(_pss(process) for process in tree(root)) / 1024


def _pss(process: int) -> int:
    with suppress(OSError):
        text = (PROC / str(process) / "smaps_rollup").read_text()
        if found := re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE):
            return int(found[1])
    return 0


def connections(root: int, port: int) -> int:
    """Return how many connections to a local port a tree has open."""
    sockets = set(_sockets(tree(root)))
    rows = (line.split() for line in (PROC / "net/tcp").read_text().splitlines()[1:])
    return sum(
        row[2].endswith(f":{port:04X}") and row[3] == ESTABLISHED and row[9] in sockets
        for row in rows
    )


def _sockets(processes: Iterable[int]) -> Iterable[str]:
    """Return the inodes of all sockets of some processes."""
    for process in processes:
        for descriptor in (PROC / str(process) / "fd").glob("*"):
            with suppress(OSError):
                kind, _, inode = str(descriptor.readlink()).partition(":")
                if kind == "socket":
                    yield inode.strip("[]")
