"""A small latency chart as inline SVG: drawn on the server, coloured by the style sheet."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from markupsafe import Markup

from example_app.models import CheckResult
from example_app.words import in_ms

WIDTH, HEIGHT, MARGIN = 240, 48, 4

_SVG = Markup(
    '<svg class="chart" viewBox="0 0 {width} {height}" preserveAspectRatio="none" role="img"'
    ' aria-labelledby="{id}"><title id="{id}">{title}</title>'
    '<path class="ground" d="M0 {ground}H{width}"/>{marks}</svg>'
)
_PATH = Markup('<path class="{kind}" d="{d}"/>')

_Point = tuple[float, float]


def latency_chart(checks: Sequence[CheckResult], *, slots: int, chart_id: str) -> Markup:
    """Draw checks, oldest first, the newest at the right edge.

    A line joins the latencies of checks that succeeded; a bar stands for one that failed. What
    the picture says is in its title too, for those who cannot see it and as a tooltip.

    Args:
        checks: what to draw.
        slots: how many checks fill the width; only the last ones are drawn.
        chart_id: becomes the id of the title, unique on the page.
    """
    checks = checks[-slots:]
    return _SVG.format(
        width=WIDTH,
        height=HEIGHT,
        ground=HEIGHT - 1,
        id=chart_id,
        title=describe(checks),
        marks=Markup("").join(_marks(checks, slots)),
    )


def describe(checks: Sequence[CheckResult]) -> str:
    """What the chart shows, in a sentence."""
    if not checks:
        return "No checks yet."
    failed = sum(not one.ok for one in checks)
    failures = f"{failed} of the last {len(checks)} checks failed"
    good = _latencies(checks)
    if not good:
        return f"{failures}."
    spread = f"latency from {in_ms(min(good))} to {in_ms(max(good))}"
    return f"{failures}; {spread}, last {in_ms(good[-1])}."


def _latencies(checks: Sequence[CheckResult]) -> list[float]:
    return [one.latency_ms for one in checks if one.ok and one.latency_ms is not None]


def _marks(checks: Sequence[CheckResult], slots: int) -> Iterator[Markup]:
    step = (WIDTH - 2 * MARGIN) / max(slots - 1, 1)
    left = WIDTH - MARGIN - step * (len(checks) - 1)
    top = max(_latencies(checks), default=0.0) or 1.0
    places = [(left + step * i, one) for i, one in enumerate(checks)]
    for ok, group in groupby(places, key=lambda place: place[1].ok):
        if ok:
            points = [(x, _y(one.latency_ms or 0.0, top)) for x, one in group]
            yield from _run_of_successes(points)
        else:
            yield _path("failed", "".join(f"M{x:.1f} {HEIGHT // 2}V{HEIGHT - 1}" for x, _ in group))
    if places and places[-1][1].ok:
        x, last = places[-1]
        # A line of no length with round ends: a dot that stays round when the chart is stretched.
        yield _path("last", f"M{x:.1f} {_y(last.latency_ms or 0.0, top):.1f}h0")


def _run_of_successes(points: Sequence[_Point]) -> Iterator[Markup]:
    line = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    ground = HEIGHT - 1
    yield _path("area", f"M{points[0][0]:.1f} {ground}L{line}L{points[-1][0]:.1f} {ground}Z")
    yield _path("line", f"M{line}" if len(points) > 1 else f"M{line}h0")


def _y(latency_ms: float, top: float) -> float:
    return HEIGHT - 1 - latency_ms / top * (HEIGHT - 1 - 2 * MARGIN)


def _path(kind: str, d: str) -> Markup:
    return _PATH.format(kind=kind, d=d)
