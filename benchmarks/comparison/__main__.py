"""Measure, print the tables, and write JSON: `python -m benchmarks.comparison --help`."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

from benchmarks import machine
from benchmarks.comparison import contenders, report, views
from benchmarks.comparison.contenders import Contender
from benchmarks.comparison.load import tool
from benchmarks.comparison.measure import Effort, Rows, measure
from benchmarks.comparison.servers import ROOT, Interpreter
from benchmarks.comparison.views import View
from benchmarks.server import THREADS
from benchmarks.timing import Missing

PUBLISHED = ROOT / "benchmarks" / "results"
"""Where the results are that the documentation shows."""

ROUNDS, SECONDS = 3, 1.0

TELL = "import platform as p; print(p.python_implementation(), p.python_version(), 'free-threaded')"

PACKAGES = (
    *("aiohttp", "asyncpg", "django", "flask", "gevent", "granian", "gunicorn", "psycopg"),
    *("quart", "redis", "requests", "starlette", "uvicorn", "uvloop", "wsgi_async"),
)


def arguments() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.comparison", description=__doc__)
    add = parser.add_argument
    add("--quick", action="store_true", help="one round and fewer settings, to see a trend")
    add("--only", action="append", choices=views.BY_KEY, metavar="VIEW", help=_named(views.BY_KEY))
    keys = contenders.BY_KEY
    add("--contender", action="append", choices=keys, metavar="NAME", help=_named(keys))
    add("--connections", action="append", type=int, metavar="N", help="instead of a view's own")
    add("--rounds", type=int, help=f"rounds of each contender, {ROUNDS} by default")
    add("--seconds", type=float, default=SECONDS, help="of a round, %(default)s by default")
    add("--cores", type=int, default=1, metavar="N", help="cores of each server, 1 by default")
    add("--free-threaded", metavar="PYTHON", help="measure some on this interpreter too")
    add("--output", type=Path, metavar="DIR", help="where to write comparison.json and .md")
    return parser


def _named(keys: Sequence[str] | dict[str, Any]) -> str:
    return f"only this, may be given again: {', '.join(keys)}"


def chosen(options: argparse.Namespace) -> list[View]:
    """Return the views to measure, with the numbers of connections."""
    found = [view for view in views.VIEWS if not options.only or view.key in options.only]
    if options.connections:
        return [replace(view, connections=tuple(options.connections)) for view in found]
    if options.quick:
        return [
            replace(view, connections=view.connections[-2:-1] or view.connections) for view in found
        ]
    return found


def among(options: argparse.Namespace) -> list[Contender]:
    """Return the contenders to measure."""
    named = options.contender or contenders.BY_KEY
    return [each for each in contenders.CONTENDERS if each.key in named]


def all_views(options: argparse.Namespace, effort: Effort) -> dict[str, Rows]:
    """Measure the views, saying on stderr which one is on."""
    results: dict[str, Rows] = {}
    for view in chosen(options):
        if found := one_view(view, contenders.of(view, among(options)), effort, options.cores):
            results[view.key] = found
    return results


def one_view(
    view: View,
    who: Sequence[Contender],
    effort: Effort,
    cores: int,
    interpreter: Interpreter | None = None,
) -> Rows | None:
    """Measure a view, unless something is missing."""
    start = monotonic()
    print(f"{view.key} ...", end=" ", file=sys.stderr, flush=True)
    try:
        found = measure(view, who, effort, cores=cores, interpreter=interpreter)
    except Missing as reason:
        print(f"skipped: {reason}", file=sys.stderr)
        return None
    print(f"{monotonic() - start:.0f} s", file=sys.stderr)
    return found


def without_gil(options: argparse.Namespace, effort: Effort) -> dict[str, Any] | None:
    """Measure some on a free-threaded interpreter, on one core and on two."""
    if not options.free_threaded:
        return None
    path = options.free_threaded
    told = subprocess.run([path, "-c", TELL], capture_output=True, text=True, check=True).stdout
    results: dict[str, Any] = {}
    who = [contenders.BY_KEY[key] for key in contenders.FREE_THREADED]
    for key in views.FREE_THREADED:
        view = replace(views.BY_KEY[key], connections=views.MIDDLE, needs=())
        for cores in (1, 2):
            found = one_view(view, who, effort, cores, Interpreter(path, own=False))
            for of in (found or {}).values():
                rows = report.rows({cores: of})
                results.setdefault(key, {}).update(rows)
    return {"python": told.strip(), "results": results}


def facts(options: argparse.Namespace) -> machine.Facts:
    """Return what the figures depend on."""
    found = machine.facts()
    found["packages"] = {name: at for name in PACKAGES if (at := machine.installed(name))}
    cores = "one core" if options.cores == 1 else f"{options.cores} cores"
    found["server"] = f"One server process on {cores}, with {THREADS} threads if it has threads"
    found["client"] = tool(options.seconds)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Run the comparison; return the exit status."""
    options = arguments().parse_args(argv)
    if modes := machine.debug_modes():
        print(f"Refused: with {' and '.join(modes)} on, no figure means anything.", file=sys.stderr)
        return 2
    effort = Effort(options.rounds or (1 if options.quick else ROUNDS), options.seconds)
    partly = options.quick or options.only or options.contender or options.connections
    for key, reason in contenders.skipped().items():
        print(f"without {key}: {reason}", file=sys.stderr)
    known = facts(options)
    results = all_views(options, effort)
    content = report.document(results, without_gil(options, effort), known, effort)
    print(report.markdown(content))
    if folder := options.output or (None if partly else PUBLISHED):
        report.write(folder, content)
    if folder == PUBLISHED:
        report.update_readme(ROOT / "README.md", content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
