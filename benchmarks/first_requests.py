"""What the first request of each thread takes under waitress, with `reuse` and without.

Where threads live long a new one waits for nobody's loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from time import perf_counter_ns

from benchmarks.effort import Effort
from benchmarks.server import get, own_server
from benchmarks.timing import Measure, Missing, Scenario, interleave
from benchmarks.waitress_app import THREADS

REUSE = {"on": True, "off": False}
"""Contender's key: the option."""

PATIENCE = 100
"""Requests after which each thread has had one, or something is wrong."""


def first_requests(effort: Effort) -> Scenario:
    """First requests of each thread, one after the other: milliseconds each."""
    if find_spec("waitress") is None:
        raise Missing("waitress is not installed")
    measures: dict[str, Measure] = {
        key: partial(answer_times, reuse) for key, reuse in REUSE.items()
    }
    return interleave(measures, "ms", rounds=effort.first_rounds)


def answer_times(reuse: bool) -> Sequence[float]:
    """Start the server, and return the milliseconds of the first request of each thread."""
    found: dict[str, float] = {}
    with own_server("benchmarks.waitress_app", *["reuse"] * reuse) as port:
        get(port, "/ready")  # waits until it serves
        for _ in range(PATIENCE):
            start = perf_counter_ns()
            thread = get(port, "/")
            found.setdefault(thread, (perf_counter_ns() - start) / 1e6)
            if len(found) == THREADS:
                return list(found.values())
    raise RuntimeError(f"Only {len(found)} of {THREADS} threads have answered.")
