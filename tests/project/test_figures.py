"""What the README says of speed is what was measured."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


def measured(checkout: Path) -> dict[str, dict[str, Any]]:
    content = json.loads((checkout / "benchmarks/results/results.json").read_text())
    results: dict[str, dict[str, Any]] = content["results"]
    return results


def test_the_readmes_microseconds_are_the_published_ones(checkout: Path) -> None:
    """A user who reads the README and the page of figures finds the same numbers."""
    results = measured(checkout)
    readme = (checkout / "README.md").read_text()
    shown = dict(re.findall(r"^(\S.*?) +(\d+) +█+$", readme, re.MULTILINE))
    assert {name: int(figure) for name, figure in shown.items()} == {
        "asgiref's async_to_sync": round(results["with_asgiref"]["asgiref"]["median"]),
        "asyncio.run": round(results["alone"]["asyncio_run"]["median"]),
        "run": round(results["alone"]["keeper"]["median"]),
        "run, LoopThreadWorker": round(results["alone"]["resident"]["median"]),
    }


def test_the_readmes_requests_per_second_are_the_published_ones(checkout: Path) -> None:
    """So it is with the requests per second."""
    flask = measured(checkout)["flask"]
    text = " ".join((checkout / "README.md").read_text().split())
    own, keeper, resident = (
        f"{flask[way]['median']:,.0f}" for way in ("own", "keeper", "resident")
    )
    assert (
        f"serves {own} requests per second without wsgi_async, {keeper} with it, "
        f"and {resident} on `LoopThreadWorker`"
    ) in text
