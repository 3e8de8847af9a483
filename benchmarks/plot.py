"""Draw the results: one SVG, a panel for each scenario, the same bytes for the same results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

from benchmarks.report import readable
from benchmarks.scenarios import SUBJECTS
from benchmarks.timing import Results, Scenario

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OURS, OTHERS, LIMIT = "#0b6e4f", "#9aa5b1", "#3e4c59"
"""Colors: what this library does, what else there is, and what cannot be beaten."""

COLOURS = {
    **dict.fromkeys(
        (
            "resident",
            "keeper",
            "process",
            "keeper_submit",
            "ours",
            "iterate",
            "prefetch",
            "resource",
        ),
        OURS,
    ),
    **dict.fromkeys(("uvloop_resident", "uvloop_keeper", "uvloop_process"), OURS),
    **dict.fromkeys(("keeper_prefetch", "resident_prefetch"), OURS),
    **dict.fromkeys(("limit", "plain", "look_up"), LIMIT),
}
"""Contender's key: its color, if it is not one of the others."""


LIVING = ("limit", "resident", "keeper", "threadsafe")
WAYS = (*LIVING, "asyncio_run", "portal", "asgiref")
"""Ways to call, from top to bottom."""


CONVERTERS, VIEWS = ("resident", "keeper", "asgiref"), ("resident", "keeper", "own")
STREAMS = ("limit", "resident", "keeper", "keeper_prefetch")
EVENTS = ("plain", "iterate", "prefetch")
SERVED = ("limit", "resident", "keeper", "uvloop_keeper", "process", "uvloop_process")
"""What else is compared, from top to bottom."""


@dataclass(frozen=True)
class Panel:
    """One panel: a scenario, the contenders shown, and how.

    Args:
        scenario: its name in the results.
        title: stands above the panel.
        unit: stands below the axis, with which way is better.
        keys: contenders from top to bottom; those that were not measured are left out.
        log: whether the axis is logarithmic, for what differs by powers of ten.
    """

    scenario: str
    title: str
    unit: str
    keys: Sequence[str] = WAYS
    log: bool = False


PAD = 0.12
"""Inches of space around each panel."""

RATE = "requests per second: more is better"

WRAP = 34
"""Characters of a label in one line: a longer one would take the room of the bars."""

LATENCY = "µs per call, logarithmic: less is better"

PANELS = (
    Panel("with_asgiref", "One worker thread, alone", LATENCY, log=True),
    Panel("neighbours", "Beside two CPU-bound threads", LATENCY, log=True),
    Panel("redis", "A Redis GET", "µs per call: less is better", LIVING),
    Panel(
        "threads",
        "Eight worker threads",
        "calls per second: more is better",
        (*WAYS, "process"),
    ),
    Panel("redis_view", "A view with ten Redis GETs, eight threads", RATE, SERVED),
    Panel(
        "requests",
        "Flask under gunicorn's threads",
        RATE,
        ("plain", "resident", "keeper", "asyncio_run", "flask_async"),
    ),
    Panel("async_to_sync", "async_to_sync(noop)()", "µs per call: less is better", CONVERTERS),
    Panel(
        "sync_to_async",
        "sync_to_async(noop)() inside of it",
        "µs per call: less is better",
        CONVERTERS,
    ),
    Panel("flask", "Flask async def view", RATE, VIEWS),
    Panel("django", "Django async view, ORM query", RATE, VIEWS),
    Panel(
        "upstream",
        "Flask view that makes 5 HTTP calls",
        RATE,
        ("ours", "asyncio_run", "shared_tls"),
    ),
    Panel("events", "A Server-Sent Event under way", "ms: less is better", EVENTS),
    Panel("stream", "Items of an async generator", "µs per item: less is better", STREAMS),
    Panel(
        "resource",
        "A loop resource that is open",
        "ns per await: less is better",
        ("look_up", "by_loop", "resource"),
    ),
)


def draw(results: Results, path: Path, *, subtitle: str) -> bool:
    """Write the plot to `path`.

    Args:
        results: what was measured; panels without results are left out.
        path: of the SVG file.
        subtitle: one line that says what it was measured on.

    Returns:
        False where nothing of what the panels show was measured: then nothing is written.
    """
    panels = [panel for panel in PANELS if panel.scenario in results]
    if not panels:
        return False
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt

    # A fixed salt and no date: the file changes only when the results do.
    with mpl.rc_context(
        {
            "font.size": 10,
            "svg.hashsalt": "wsgi_async",
            "figure.constrained_layout.h_pad": PAD,
            "figure.constrained_layout.w_pad": PAD,
        }
    ):
        heights = [max(map(height, pair)) for pair in in_pairs(panels)]
        figure, grid = plt.subplots(
            len(heights),
            2,
            figsize=(12, sum(heights) + 0.6),
            height_ratios=heights,
            squeeze=False,
            layout="constrained",
        )
        figure.suptitle("What it costs to call async code from a WSGI worker thread\n" + subtitle)
        axes = list(grid.flat)
        for panel, axis in zip(panels, axes, strict=False):
            _fill(axis, panel, results[panel.scenario])
        for axis in axes[len(panels) :]:
            axis.set_visible(False)
        # An opaque background, so that it can be read on a dark page too.
        figure.savefig(path, metadata={"Date": None, "Creator": None}, facecolor="white")
        plt.close(figure)
    return True


def in_pairs(panels: Sequence[Panel]) -> list[Sequence[Panel]]:
    """Return the panels row by row."""
    return [panels[place : place + 2] for place in range(0, len(panels), 2)]


def height(panel: Panel) -> float:
    """Return how much room a panel needs, in inches: bars are equally thick in all."""
    return 1.0 + 0.34 * len(panel.keys)


def _fill(axis: Axes, panel: Panel, scenario: Scenario) -> None:
    keys = [key for key in panel.keys if key in scenario]
    values = [scenario[key].median for key in keys]
    colours = [COLOURS.get(key, OTHERS) for key in keys]
    (_dots if panel.log else _bars)(axis, values, colours)
    for place, value in enumerate(values):
        axis.annotate(
            readable(value), (value, place), (8, 0), textcoords="offset points", va="center"
        )
    labels = [fill(SUBJECTS[panel.scenario].label(key), WRAP) for key in keys]
    axis.set_yticks(range(len(keys)), labels)
    axis.set_ylim(len(keys) - 0.5, -0.5)  # a row has the same height for dots and bars
    axis.set_title(panel.title, fontweight="bold", loc="left")
    axis.set_xlabel(panel.unit, loc="left")
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(axis="y", length=0)


def _dots(axis: Axes, values: Sequence[float], colours: Sequence[str]) -> None:
    # Not bars: the length of a bar on a logarithmic axis means nothing.
    places = range(len(values))
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axis.hlines(places, min(values) / 3, values, colors=colours, linewidth=1)
    axis.scatter(values, places, color=colours, s=60, zorder=3)
    axis.set_xlim(min(values) / 3, max(values) * 8)


def _bars(axis: Axes, values: Sequence[float], colours: Sequence[str]) -> None:
    axis.barh(range(len(values)), values, color=colours, height=0.6)
    axis.set_xlim(0, max(values) * 1.25)
    # Each bar has its number.
    axis.set_xticks([])
