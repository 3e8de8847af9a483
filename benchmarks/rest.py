"""What managers cost while they have nothing to do: measured in processes of their own."""

from __future__ import annotations

import json
import subprocess

from benchmarks.child import environment, module
from benchmarks.effort import Effort
from benchmarks.timing import Scenario, Series

IDLE = 8
"""Managers, or threads with a loop, whose threads are counted and whose CPU time is watched."""

UNITS = {
    "descriptors": "",
    "memory_started": "KiB",
    "memory_used": "KiB",
    "traced": "KiB",
    "keeper_threads": "",
    "keeper_cpu": "%",
    "resident_threads": "",
    "resident_cpu": "%",
    "watched_cpu": "%",
}
"""What is reported, and its unit: descriptors and memory of one manager, the rest of `IDLE`."""


def rest(effort: Effort) -> Scenario:
    """Managers at rest: descriptors and memory of one, threads and CPU time of a few together.

    Memory is counted twice: as the system sees it (PSS), and, in a second process, as Python's
    allocator does. What the system does not tell (outside Linux) is left out.
    """
    found = _child(effort.managers, 0)
    found["traced"] = _child(effort.managers, 0, "--trace")["memory_used"]
    for kind in ("keeper", "resident"):
        few = _child(IDLE, effort.idle, *(["--resident"] * (kind == "resident")))
        found |= {f"{kind}_{fact}": few[fact] for fact in ("threads", "cpu")}
    found["watched_cpu"] = _child(IDLE, effort.idle, "--watched")["cpu"]
    return {
        key: Series(unit, (value,))
        for key, unit in UNITS.items()
        if (value := found.get(key)) is not None
    }


def _child(count: int, seconds: float, *options: str) -> dict[str, float | None]:
    done = subprocess.run(
        module("benchmarks.resting", str(count), str(seconds), *options),
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
        timeout=60 + seconds,
        check=True,
    )
    answer: dict[str, float | None] = json.loads(done.stdout)
    return answer
