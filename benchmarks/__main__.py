"""Measure, print the table, and write JSON and plot: `python -m benchmarks --help`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from time import monotonic

from benchmarks import machine, plot, report
from benchmarks.effort import FULL, QUICK, Effort
from benchmarks.scenarios import SUBJECTS
from benchmarks.targets import figures
from benchmarks.timing import Missing, Results

PUBLISHED = Path(__file__).parent / "results"
"""Where the results are that the README shows."""


def arguments() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, to see a trend")
    parser.add_argument(
        "--only",
        action="append",
        choices=SUBJECTS,
        metavar="NAME",
        help=f"measure only this, may be given again: {', '.join(SUBJECTS)}",
    )
    parser.add_argument("--no-gunicorn", action="store_true", help="leave out whole requests")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help=f"where to write results.json, results.md and results.svg; for a complete run it is "
        f"{PUBLISHED.parent.name}/{PUBLISHED.name}, otherwise nothing is written",
    )
    return parser


def chosen(options: argparse.Namespace) -> list[str]:
    """Return the names of the scenarios to measure, in their order."""
    names = [name for name in SUBJECTS if not options.only or name in options.only]
    return [name for name in names if not (options.no_gunicorn and SUBJECTS[name].served)]


def measure(names: Sequence[str], effort: Effort) -> Results:
    """Measure the named scenarios, saying on stderr which one is on."""
    results: Results = {}
    for name in names:
        start = monotonic()
        print(f"{name} ...", end=" ", file=sys.stderr, flush=True)
        try:
            results[name] = SUBJECTS[name].measure(effort)
        except Missing as reason:
            print(f"skipped: {reason}", file=sys.stderr)
        else:
            print(f"{monotonic() - start:.0f} s", file=sys.stderr)
    return results


def publish(folder: Path, results: Results, facts: machine.Facts, effort: Effort) -> None:
    """Write JSON, the figures as Markdown, and the plot to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    found = figures(results)
    report.write(folder / "results.json", report.document(results, found, facts, effort))
    (folder / "results.md").write_text(report.markdown(found, facts), encoding="utf-8")
    if find_spec("matplotlib") is None:
        print("No plot: matplotlib is not installed (pip install wsgi_async[bench]).")
        return
    plot.draw(results, folder / "results.svg", subtitle=report.measured_on(facts))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit status."""
    options = arguments().parse_args(argv)
    if modes := machine.debug_modes():
        print(f"Refused: with {' and '.join(modes)} on, no figure means anything.", file=sys.stderr)
        return 2
    names, effort = chosen(options), QUICK if options.quick else FULL
    complete = effort is FULL and names == list(SUBJECTS)
    folder = options.output or (PUBLISHED if complete else None)
    facts = machine.facts()
    results = measure(names, effort)
    print(report.table(results, figures(results)))
    print("\nMeasured with the garbage collector on, as in production, on:")
    print("\n".join(f"  {name}: {fact}" for name, fact in facts.items()))
    if folder is not None:
        publish(folder, results, facts, effort)
    return 0


if __name__ == "__main__":
    sys.exit(main())
