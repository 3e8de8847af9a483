"""Other projects' own tests pass with wsgi_async in place."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.project, pytest.mark.upstream, pytest.mark.timeout(400)]

NO_SDIST = 77


@pytest.mark.parametrize("options", [[], ["--resident"]], ids=["keeper", "resident"])
@pytest.mark.parametrize("project", ["asgiref", "flask", "django"])
def test_its_own_tests_pass(project: str, options: list[str], checkout: Path) -> None:
    """What the project promises its users holds with the integration too, wherever loops live."""
    done = subprocess.run(
        [checkout / ".ci" / "upstream", *options, project],
        env={**os.environ, "PYTHON": sys.executable},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=380,
        check=False,
    )
    if done.returncode == NO_SDIST:
        pytest.skip(f"the sdist of {project} cannot be downloaded")
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
