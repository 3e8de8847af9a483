"""The report: one HTML page with the figures, what was wrong, and a plot."""

from __future__ import annotations

import html
import platform
import shutil
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

import wsgi_async

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tests.soak.soak import Result

_WIDTH, _HEIGHT = 860, 220
_LEFT, _BOTTOM = 50, 24
_COLORS = ("#2563eb", "#d97706", "#059669", "#94a3b8", "#cbd5e1")

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Soak: {verdict}</title>
<meta name="viewport" content="width=device-width">
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 900px; margin: 2em auto; padding: 0 1em }}
table {{ border-collapse: collapse; margin: 1em 0 }}
td, th {{ padding: .15em 1.2em .15em 0; text-align: left; vertical-align: top }}
td.n {{ text-align: right; font-variant-numeric: tabular-nums }}
svg {{ width: 100%; height: auto; background: #fff }}
pre {{ white-space: pre-wrap; background: #fef2f2; padding: 1em }}
@media (prefers-color-scheme: dark) {{ body {{ background: #111; color: #ddd }}
pre {{ background: #411 }} }}
</style>
<h1>Soak: {verdict}</h1>
<p>{about}</p>
{figures}
{wrong}
<h2>Memory of each process, MiB</h2>
{memory}
<h2>Requests per second</h2>
{rate}
<h2>Requests and faults</h2>
{kinds}
</html>
"""


def rows(result: Result) -> list[tuple[str, str]]:
    """The figures, in words."""
    tally = result.tally
    return [
        ("requests that were answered", f"{tally.requests:,}"),
        ("faults", f"{sum(tally.faults.values()):,}"),
        ("wrong answers", str(len(tally.wrong))),
        ("lost answers", str(len(tally.lost) - result.dropped)),
        ("requests that hung", str(len(tally.hung))),
        ("closed by gunicorn's own worker before the application", str(result.dropped)),
        ("sent again, as the kept connection was closed", f"{tally.stale:,}"),
        ("quiet moments in which all that was open was counted", str(result.quiet)),
        ("calls without a server", f"{sum(result.inside['done'].values()):,}"),
        *(
            (f"growth of memory in the second half, {name}", _percent(growth))
            for name, growth in result.growths.items()
        ),
        ("everything that was wrong", str(len(result.wrong))),
    ]


def summary(result: Result) -> str:
    """The same for the terminal."""
    found = [f"{value:>9}  {name}" for name, value in rows(result)]
    return "\n".join([*found, *(f"WRONG: {each[:500]}" for each in result.wrong[:20])])


def write(result: Result, folder: Path, logs: Iterable[Path]) -> Path:
    """Write the page, and the logs beside it; the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    for log in logs:
        shutil.copy(log, folder / log.name)
    page = folder / "index.html"
    about = (
        f"{result.seconds / 60:g} minutes, SEED={result.seed}, wsgi_async "
        f"{wsgi_async.__version__}, Python {platform.python_version()}, {platform.platform()}"
    )
    wrong = "\n".join(each[:1000] for each in result.wrong[:50])
    page.write_text(
        _PAGE.format(
            verdict="wrong" if result.wrong else "passed",
            about=html.escape(about),
            figures=_table(rows(result)),
            wrong=f"<pre>{html.escape(wrong)}</pre>" if wrong else "",
            memory=_plot(_memory(result)),
            rate=_plot({"all servers": _rate(result.watch.counts)}),
            kinds=_table(_counts(result.tally.kinds) + _counts(result.tally.faults, "fault: ")),
        )
    )
    return page


def _percent(part: float | None) -> str:
    return "unknown" if part is None else f"{part:+.2%}"


def _counts(found: Counter[str], prefix: str = "") -> list[tuple[str, str]]:
    return [(f"{prefix}{name}", f"{count:,}") for name, count in found.most_common()]


def _table(found: list[tuple[str, str]]) -> str:
    cells = (
        f'<tr><td>{html.escape(name)}<td class="n">{html.escape(value)}' for name, value in found
    )
    return f"<table>{''.join(cells)}</table>"


def _memory(result: Result) -> dict[str, list[tuple[float, float]]]:
    """A line for each steady process; of those that are recycled, the largest at each moment."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for name, samples in result.watch.samples.items():
        largest: dict[float, float] = {}
        for sample in samples:
            largest[sample.at] = max(sample.memory, largest.get(sample.at, 0.0))
        lines[name] = list(largest.items())
    return dict(sorted(lines.items(), key=lambda line: line[0].startswith("recycled")))


def _rate(counts: list[tuple[float, int]]) -> list[tuple[float, float]]:
    return [
        (later, (after - before) / (later - earlier))
        for (earlier, before), (later, after) in pairwise(counts)
    ]


def _plot(lines: dict[str, list[tuple[float, float]]]) -> str:
    """Lines over the seconds, with a legend; the vertical axis begins at zero."""
    points = [point for line in lines.values() for point in line]
    if not points:
        return "<p>Too short for a plot.</p>"
    right = max(at for at, _ in points) or 1.0
    top = max(value for _, value in points) * 1.1 or 1.0
    wide, high = _WIDTH - _LEFT - 10, _HEIGHT - _BOTTOM - 30

    def place(at: float, value: float) -> str:
        return f"{_LEFT + at / right * wide:.1f},{30 + high - value / top * high:.1f}"

    parts = []
    for number, (name, line) in enumerate(lines.items()):
        color = _COLORS[number % len(_COLORS)]
        path = " ".join(place(at, value) for at, value in line)
        parts.append(f'<polyline fill="none" stroke="{color}" points="{path}"/>')
        parts.append(f'<text x="{_LEFT + number * 160}" y="16" fill="{color}">{name}</text>')
    for part in (0, 0.5, 1):
        x, y = _LEFT + part * wide, 30 + high - part * high
        parts.append(f'<path stroke="#e5e7eb" d="M{_LEFT} {y:.0f}H{_LEFT + wide}"/>')
        parts.append(f'<text x="4" y="{y + 4:.0f}">{part * top:.0f}</text>')
        parts.append(f'<text x="{x - 14:.0f}" y="{_HEIGHT - 6}">{part * right:.0f} s</text>')
    size = f'viewBox="0 0 {_WIDTH} {_HEIGHT}" font-size="12" font-family="sans-serif"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{"".join(parts)}</svg>'
