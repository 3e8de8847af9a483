"""The lock file names one version of each development dependency, and no place to get it from."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.project


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_development_dependency_is_locked(checkout: Path) -> None:
    """With the lock file you get the same versions that the checks were last seen to pass with."""
    lines = (checkout / "requirements-dev.lock").read_text().splitlines()
    assert lines[0].startswith("# Written by make lock, with Python 3.11")
    assert [one for one in lines[1:] if not re.fullmatch(r"[\w.-]+==[\w.+]+", one)] == []
    locked = {normal(line.partition("==")[0]) for line in lines[1:]}
    project = tomllib.loads((checkout / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    # These have a marker, or no place in what pip freeze tells.
    left_out = {"django-async-backend", "django-tasks-db", "django-tasks-rq", "setuptools"}
    wanted = {
        normal(found[0])
        for extra, lines in extras.items()
        if extra not in ("audit", "coverage")
        for line in lines
        if (found := re.match(r"[\w.-]+", line)) and not line.startswith("wsgi_async")
    }
    assert wanted - locked - left_out == set()
