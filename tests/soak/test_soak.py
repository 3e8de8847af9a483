"""The short form of `make soak`."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("aiosqlite")
pytest.importorskip("httpx2")

from tests.servers.process import child_environment
from tests.soak.servers import SoakServer

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.gunicorn, pytest.mark.slow]


def soak(report: Path, seconds: int, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(sys.executable, "-m", "tests.soak", f"--minutes={seconds / 60}"),
            *("--seed=1", f"--report={report}"),
        ],
        capture_output=True,
        text=True,
        timeout=150,
        env=child_environment(**environment),
        check=False,
    )


@pytest.mark.timeout(160)
def test_mixed_load_with_faults_loses_and_leaves_nothing(tmp_path: Path) -> None:
    """Under load, with faults and restarts, each request gets its answer and nothing is left."""
    done = soak(tmp_path, 16)
    assert done.returncode == 0, done.stdout + done.stderr
    answered = re.search(r"([\d,]+) +requests that were answered", done.stdout)
    assert answered is not None
    assert int(answered[1].replace(",", "")) > 500, done.stdout
    page = (tmp_path / "index.html").read_text()
    assert "<h1>Soak: passed</h1>" in page
    assert "<polyline" in page
    assert {"fault: SIGHUP", "fault: SIGTERM of a worker", "fault: leave: endless"} <= set(
        re.findall(r"<td>(fault: [^<]*)<", page)
    )


@pytest.mark.timeout(160)
def test_wrong_answers_fail_the_soak(tmp_path: Path) -> None:
    """A soak in which the application adds up wrongly names the requests, and its status is 1."""
    done = soak(tmp_path, 2, SOAK_MISTAKE="1")
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(r"^WRONG: steady-loop /run\?token=1-", done.stdout, re.MULTILINE)
    assert "<h1>Soak: wrong</h1>" in (tmp_path / "index.html").read_text()


def test_what_is_left_in_a_quiet_moment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task or descriptor more than at the start is found."""
    server = SoakServer.__new__(SoakServer)
    now = {"tasks": 9, "descriptors": 20, "threads": 5, "scope": 1}
    monkeypatch.setattr(server, "stats", lambda: now, raising=False)
    most = {"tasks": 8, "descriptors": 20, "threads": 6}
    server.blocks = []
    assert server.settled(most, seconds=0) == {"tasks": 9, "scope": 1}
