"""`make soak`: soak the library for some minutes, and write a report.

`python -m tests.soak --minutes 10 --seed 7 --report soak-report`. The exit status is 1 if anything
was wrong.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.soak import report
from tests.soak.soak import any_seed, soak


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", default="", help="repeats the choices of another soak")
    parser.add_argument("--report", type=Path, default=Path("soak-report"))
    given = parser.parse_args()
    seed = given.seed or any_seed()
    print(f"Soaking for {given.minutes:g} minutes with SEED={seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        result = soak(given.minutes * 60, seed, Path(folder))
        page = report.write(result, given.report, [*Path(folder).glob("*.log")])
    print(report.summary(result))
    print(f"The report is in {page}")
    return 1 if result.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
