"""What the README says of speed is what was measured."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from benchmarks.comparison import report

if TYPE_CHECKING:
    from pathlib import Path


def test_the_readmes_requests_per_second_are_the_published_ones(checkout: Path) -> None:
    """A user who reads the README and the page of figures finds the same numbers."""
    content = json.loads((checkout / "benchmarks/results/comparison.json").read_text())
    readme = (checkout / "README.md").read_text()
    (shown,) = re.findall(r"```text\n([^`]*█[^`]*)\n```", readme)
    assert shown == report.bars(content)
    assert len(shown.splitlines()) == 4
