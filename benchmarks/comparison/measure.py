"""Ask all contenders of a view in turn."""

from __future__ import annotations

import random
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from benchmarks.comparison import processes
from benchmarks.comparison.contenders import Contender
from benchmarks.comparison.load import busy, load
from benchmarks.comparison.servers import Interpreter, Server, pinned, share
from benchmarks.comparison.services import services
from benchmarks.comparison.views import NEIGHBORS, View
from benchmarks.server import get
from benchmarks.timing import SEED

SETTLE = 0.3
"""Seconds in which CPU-bound requests that nobody waits for come to their end."""


@dataclass(frozen=True)
class Effort:
    """How long to measure.

    Args:
        rounds: how many rounds are kept; one more goes before, and warms up.
        seconds: that one contender gets in a round.
    """

    rounds: int
    seconds: float


class Row(NamedTuple):
    """What one contender did: in a round, or the medians of all its rounds.

    Args:
        rate: requests per second.
        median: milliseconds of the middle request.
        slowest: milliseconds that one of a hundred requests takes longer than.
        cpu: milliseconds of CPU of the server for each request.
        memory: MiB of the server.
        connections: connections to the HTTP server that it has kept.
    """

    rate: float
    median: float
    slowest: float
    cpu: float
    memory: float
    connections: float


Cell = tuple[str, int]
"""A contender's key, and a number of connections."""

Rows = dict[int, dict[str, Row]]
"""Number of connections: contender's key: its row."""


def measure(
    view: View,
    contenders: Sequence[Contender],
    effort: Effort,
    *,
    cores: int = 1,
    interpreter: Interpreter | None = None,
) -> Rows:
    """Measure a view; a contender that does not serve it is left out, with a word.

    Raises:
        Missing: What the view calls is not installed.
    """
    for_server, for_others = share(cores)
    with pinned(for_others), services(view) as settings, ExitStack() as stack:
        started = {
            each.key: stack.enter_context(
                Server(each, settings, for_server, interpreter or Interpreter())
            )
            for each in contenders
        }
        ready = {key: served for key, served in started.items() if serves(key, served, view)}
        cells = [(key, width) for width in view.connections for key in ready]
        return summed_up(rounds(view, ready, cells, effort, settings.upstream), view)


def serves(key: str, served: Server, view: View) -> bool:
    """Wait for a server; tell whether it gives the answer that all must give."""
    try:
        served.wait()
        answer = get(served.port, f"/{view.key}")
        if not (answer == "ok" or (view.key == "stream" and answer.endswith("data: 99\n\n"))):
            raise RuntimeError(f"The answer is {answer[:100]!r}.")
    except (OSError, RuntimeError) as reason:
        print(f"\n  without {key}: {reason}", file=sys.stderr)
        return False
    return True


def rounds(
    view: View, ready: Mapping[str, Server], cells: list[Cell], effort: Effort, upstream: int
) -> dict[Cell, list[Row]]:
    """Measure each cell once in each round, in a shuffled order; one that fails is left out.

    The round that warms up begins with the fewest connections, so it tells how many of its own a
    contender opens for so many: they stay open.
    """
    opened: dict[Cell, float] = {}
    kept: dict[Cell, list[Row]] = {cell: [] for cell in cells}
    order = list(cells)
    shuffle = random.Random(SEED).shuffle
    for turn in range(-1, effort.rounds):
        shuffle(order)
        if turn < 0:
            order.sort(key=lambda cell: cell[1])
        for cell in [cell for cell in order if cell in kept]:
            key, width = cell
            try:
                row = asked(view, ready[key], width, effort.seconds, upstream)
            except RuntimeError as reason:
                print(f"\n  without {key} at {width}: {reason}", file=sys.stderr)
                del kept[cell]
                continue
            if turn < 0:
                opened[cell] = row.connections
            else:
                kept[cell].append(row._replace(connections=opened[cell]))
    return kept


def asked(view: View, served: Server, width: int, seconds: float, upstream: int) -> Row:
    """Keep a server busy for a while."""
    with ExitStack() as stack:
        if view.beside:
            stack.enter_context(beside(served))
        before = processes.cpu_seconds(served.process)
        seen = load(f"http://127.0.0.1:{served.port}/{view.key}", seconds, width)
        spent = processes.cpu_seconds(served.process) - before
    return Row(
        seen.rate,
        seen.median,
        seen.slowest,
        0.0 if view.beside else spent * 1000 / max(seen.requests, 1),
        processes.memory(served.process),
        processes.connections(served.process, upstream),
    )


@contextmanager
def beside(served: Server) -> Iterator[None]:
    """Have CPU-bound requests under way."""
    with busy(f"http://127.0.0.1:{served.port}/compute", NEIGHBORS):
        time.sleep(SETTLE)
        yield
    time.sleep(SETTLE)


def summed_up(kept: Mapping[Cell, Sequence[Row]], view: View) -> Rows:
    """Return the medians, value by value."""
    found: Rows = {width: {} for width in view.connections}
    for (key, width), rows in kept.items():
        found[width][key] = Row(*map(statistics.median, zip(*rows, strict=True)))
    return found
