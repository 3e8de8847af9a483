"""What a manager costs while it has nothing to do: measured in processes of their own."""

from __future__ import annotations

import json
import subprocess

from benchmarks.child import environment, module
from benchmarks.effort import Effort
from benchmarks.timing import Scenario, Series

UNITS = {
    "descriptors": "",
    "threads": "",
    "memory_started": "KiB",
    "memory_used": "KiB",
    "traced": "KiB",
    "idle_cpu": "%",
}
"""What is reported, and its unit; all but `idle_cpu` is for one manager."""


def rest(effort: Effort) -> Scenario:
    """Managers at rest: descriptors, threads and memory of one, CPU time of all together.

    Memory is counted twice: as the system sees it (PSS), and, in a second process, as Python's
    allocator does. What the system does not tell (outside Linux) is left out.
    """
    found = _child(effort)
    found["traced"] = _child(effort, "--trace")["traced"]
    return {
        key: Series(unit, (value,))
        for key, unit in UNITS.items()
        if (value := found.get(key)) is not None
    }


def _child(effort: Effort, *options: str) -> dict[str, float | None]:
    command = module("benchmarks.resting", str(effort.managers), str(effort.idle), *options)
    done = subprocess.run(
        command,
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
        timeout=60 + effort.idle,
        check=True,
    )
    answer: dict[str, float | None] = json.loads(done.stdout)
    return answer
