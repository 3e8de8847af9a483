from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

from example_app.chart import HEIGHT, WIDTH, latency_chart
from example_app.models import CheckResult
from example_app.words import ago, in_ms, status_line


def checked(latency_ms: float | None, status: int | None = 200) -> CheckResult:
    error = None if status else "no answer within 3 s"
    return CheckResult(1, 0.0, status, error, latency_ms, reused=True)


def drawn(*checks: CheckResult, slots: int = 60) -> ET.Element:
    return ET.fromstring(latency_chart(checks, slots=slots, chart_id="chart-1"))


def paths(chart: ET.Element, kind: str) -> list[str]:
    return [path.attrib["d"] for path in chart.iter("path") if path.attrib["class"] == kind]


def test_the_chart_says_what_it_shows() -> None:
    """Whoever cannot see the picture gets its content in a sentence, tied to it as its name."""
    chart = drawn(checked(10), checked(None, None), checked(250))
    title = chart.find("title")
    assert title is not None
    assert title.text == "1 of the last 3 checks failed; latency from 10 ms to 250 ms, last 250 ms."
    assert chart.attrib["role"] == "img"
    assert chart.attrib["aria-labelledby"] == title.attrib["id"] == "chart-1"


def test_a_failure_is_a_bar_and_a_gap_in_the_line() -> None:
    """A failed check does not look like a fast one."""
    chart = drawn(checked(10), checked(20), checked(3, 503), checked(10), checked(20))
    assert len(paths(chart, "line")) == 2
    assert [d.count("M") for d in paths(chart, "failed")] == [1]


def test_everything_is_drawn_inside_the_picture() -> None:
    """Nothing is cut off, and the newest check is at the right edge."""
    chart = drawn(*[checked(ms) for ms in (0.1, 5000, 0.0, 17, 3)], checked(1, 500))
    numbers = [
        (float(x), float(y))
        for path in chart.iter("path")
        for x, y in re.findall(r"(-?[\d.]+) (-?[\d.]+)", path.attrib["d"])
    ]
    assert len(numbers) > 10
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in numbers)
    (bar,) = paths(chart, "failed")
    assert float(bar.split()[0][1:]) > WIDTH - 10


def test_a_slower_answer_is_drawn_higher() -> None:
    """The height of the line is the latency."""
    (line,) = paths(drawn(checked(10), checked(30), checked(20)), "line")
    low, high, middle = (float(y) for _, y in re.findall(r"(-?[\d.]+) (-?[\d.]+)", line))
    assert high < middle < low  # y counts from the top


def test_more_checks_than_fit_show_the_last_ones() -> None:
    """The chart is about now."""
    chart = drawn(checked(9000), *[checked(10)] * 3, slots=3)
    title = chart.find("title")
    assert title is not None
    assert title.text == "0 of the last 3 checks failed; latency from 10 ms to 10 ms, last 10 ms."
    assert paths(chart, "line")[0].count("L") == 2


@pytest.mark.parametrize(
    ("checks", "says"),
    [
        ((), "No checks yet."),
        ((checked(None, None),), "1 of the last 1 checks failed."),
        ((checked(7),), "0 of the last 1 checks failed; latency from 7.0 ms to 7.0 ms"),
    ],
)
def test_little_history_is_a_chart_too(checks: tuple[CheckResult, ...], says: str) -> None:
    """A new address has a chart from its first moment."""
    title = drawn(*checks).find("title")
    assert title is not None
    assert (title.text or "").startswith(says)


def test_numbers_read_well() -> None:
    """Durations, ages and statuses are written as people write them."""
    assert [in_ms(ms) for ms in (0.27, 3.21, 41.6, 999.4, 1250)] == [
        "0.3 ms",
        "3.2 ms",
        "42 ms",
        "999 ms",
        "1.25 s",
    ]
    assert [ago(s) for s in (-3, 0.4, 12.7, 200, 7300, 200_000)] == [
        "just now",
        "just now",
        "12 s ago",
        "3 min ago",
        "2 h ago",
        "2 d ago",
    ]
    assert [status_line(s) for s in (200, 503, 599)] == ["200 OK", "503 Service Unavailable", "599"]
