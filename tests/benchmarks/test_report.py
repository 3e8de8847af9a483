"""What the benchmark tells: table, JSON and plot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import machine, report
from benchmarks.effort import QUICK
from benchmarks.scenarios import SUBJECTS
from benchmarks.targets import TARGETS, Figure, Target, figures
from benchmarks.timing import Results, Series


def results() -> Results:
    """Return made-up results from which most figures can be read."""
    return {
        "alone": {
            "limit": Series("us", (10.0,)),
            "resident": Series("us", (11.0, 11.0, 12.0)),
            "resident_submit": Series("us", (30.0,)),
            "keeper": Series("us", (22.0,)),
            "threadsafe": Series("us", (55.0,)),
        },
        "with_asgiref": {
            "limit": Series("us", (10.0,)),
            "keeper": Series("us", (12.0,)),
            "asgiref": Series("us", (1_234.5,)),
        },
        "middleware": {
            "limit": Series("us", (10.0,)),
            "bare": Series("us", (1.0,)),
            "wrapped": Series("us", (3.5,)),
        },
        "rest": {"descriptors": Series("", (4.0,)), "memory_used": Series("KiB", (61.0,))},
        "requests": {"keeper": Series("1/s", (2_000.0,)), "flask_async": Series("1/s", (800.0,))},
    }


def values() -> dict[str, float | None]:
    """Return all figures of the made-up results."""
    return {figure.target.key: figure.value for figure in figures(results())}


def test_figures_are_read_from_the_results() -> None:
    """A figure is the ratio that its text promises, the right way up."""
    found = values()
    assert found["resident"] == pytest.approx(1.1)
    assert found["resident_submit"] == pytest.approx(3.0)
    assert found["keeper"] == pytest.approx(0.4)
    assert found["requests"] == pytest.approx(2.5)
    assert found["middleware"] == pytest.approx(0.25)
    assert found["memory"] == 61.0


def test_what_was_not_measured_is_not_a_figure() -> None:
    """A run of a part neither passes nor fails what it did not measure."""
    missing = next(figure for figure in figures(results()) if figure.target.key == "redis_cpu")
    assert missing.value is None
    assert missing.reached is None


@pytest.mark.parametrize(
    ("at_most", "at_least", "value", "good"),
    [
        (1.15, None, 1.15, True),
        (1.15, None, 1.1504, False),
        (None, 0.9, 0.9, True),
        (None, 0.9, 0.8999, False),
    ],
)
def test_a_bound_is_not_rounded(
    at_most: float | None, at_least: float | None, value: float, good: bool
) -> None:
    """A figure that only looks good once it is rounded is not reached."""
    target = Target("key", "what", lambda _: value, at_most, at_least)
    assert Figure(target, value).reached is good


def test_each_target_has_one_bound_and_its_own_key() -> None:
    """Every figure to reach can be reached and missed, and is told from the others."""
    assert all((each.at_most is None) != (each.at_least is None) for each in TARGETS)
    assert len({each.key for each in TARGETS}) == len(TARGETS)


def test_table_names_what_is_missed() -> None:
    """The printed table shows target, figure and verdict; contenders come with ratios."""
    lines = report.table(results(), figures(results())).splitlines()
    submit = next(line for line in lines if "submit_task().result() / limit" in line)
    assert submit.split()[-4:] == ["<=", "1.75", "3.00", "NO"]
    redis = next(line for line in lines if "run() of a Redis GET" in line)
    assert redis.endswith("not measured")
    asgiref = next(line for line in lines if line.startswith("  asgiref async_to_sync "))
    assert "1,234 us" in asgiref
    assert asgiref.endswith("123.45")


def test_json_has_results_figures_and_machine(tmp_path: Path) -> None:
    """The JSON says what was measured, whether it was reached, and on what."""
    facts = machine.facts()
    path = tmp_path / "results.json"
    report.write(path, report.document(results(), figures(results()), facts, QUICK))
    content: dict[str, Any] = json.loads(path.read_text())
    assert list(content) == ["schema", "measured_on", "effort", "results", "figures"]
    assert content["results"]["alone"]["resident"] == {
        "unit": "us",
        "median": 11.0,
        "quartiles": [11.0, 11.5],
        "values": 3,
    }
    resident = {
        "key": "resident",
        "what": "loop on the worker: run() / limit",
        "target": "<= 1.2",
        "value": 1.1,
        "reached": True,
    }
    assert content["figures"][0] == resident
    assert {"cpu", "cores", "python", "system", "packages", "date"} <= set(content["measured_on"])


def test_figures_as_markdown() -> None:
    """The README's table comes from the benchmark, with what it was measured on."""
    facts: machine.Facts = {
        "cpu": "A CPU",
        "cores": 2,
        "python": "CPython 3.11.7",
        "system": "Linux 6.1",
        "date": "2024-02-29",
    }
    lines = report.markdown(figures(results()), facts).splitlines()
    assert lines[0] == "| figures to reach | target | measured | reached |"
    assert lines[2] == "| loop on the worker: run() / limit | <= 1.2 | 1.10 | yes |"
    assert lines[-1] == "Measured on A CPU, 2 cores, CPython 3.11.7, Linux 6.1, 2024-02-29."


def test_results_tell_nothing_about_whose_machine_it_is() -> None:
    """Results can be published: they hold no path, host or user name."""
    told = json.dumps(machine.facts())
    assert str(Path.home()) not in told
    assert str(Path.cwd()) not in told


def test_plot_is_the_same_for_the_same_results(tmp_path: Path) -> None:
    """The SVG changes only when the results do."""
    pytest.importorskip("matplotlib")
    from benchmarks import plot

    drawn = []
    for name in ("one.svg", "two.svg"):
        assert plot.draw(results(), tmp_path / name, subtitle="a machine")
        drawn.append((tmp_path / name).read_bytes())
    assert drawn[0] == drawn[1]
    assert drawn[0].startswith(b"<?xml")
    changed = results()
    changed["with_asgiref"]["keeper"] = Series("us", (20.0,))
    plot.draw(changed, tmp_path / "three.svg", subtitle="a machine")
    assert (tmp_path / "three.svg").read_bytes() != drawn[0]


def test_each_panel_shows_what_is_measured() -> None:
    """A panel without its scenario, or with bare keys for names, would tell nobody anything."""
    from benchmarks.plot import PANELS

    for panel in PANELS:
        subject = SUBJECTS[panel.scenario]
        assert all(subject.label(key) != key for key in panel.keys)


def test_nothing_to_draw(tmp_path: Path) -> None:
    """A run of a part that no panel shows leaves no empty picture behind."""
    pytest.importorskip("matplotlib")
    from benchmarks import plot

    assert not plot.draw({"rest": {}}, tmp_path / "none.svg", subtitle="")
    assert not (tmp_path / "none.svg").exists()
