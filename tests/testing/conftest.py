"""What the plugin's tests share: test suites of users, each run in a process of its own.

And the core's managers and workers, for those of the leak check by itself.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

import pytest

import wsgi_async
from tests.core.conftest import (
    loop_factory,
    make_manager,
    pytest_generate_tests,
    runner,
    worker,
)

__all__ = [
    "PRELUDE",
    "RunSuite",
    "loop_factory",
    "make_manager",
    "pytest_generate_tests",
    "run_suite",
    "runner",
    "worker",
]

PRELUDE = """
import asyncio, threading
import pytest
from wsgi_async import *

async def give(value):
    await asyncio.sleep(0)
    return value

async def forever():
    await asyncio.get_running_loop().create_future()
"""


class RunSuite(Protocol):
    def __call__(
        self, code: str, *args: str, ini: str = "", plugin: str = ...
    ) -> pytest.RunResult: ...


@pytest.fixture
def run_suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> RunSuite:
    """Runs a test file as a user would, with warnings as errors and the plugin on."""
    paths = [str(Path(wsgi_async.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    monkeypatch.setenv("PYTHONDEVMODE", "1")
    monkeypatch.setenv("COLUMNS", "400")  # so that the summary's lines are whole
    # By its module, so that it needs no entry point; packaging tests see to that.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def run(
        code: str, *args: str, ini: str = "", plugin: str = "wsgi_async.testing"
    ) -> pytest.RunResult:
        pytester.makeini(f"[pytest]\nfilterwarnings = error\nxfail_strict = true\n{ini}")
        pytester.makepyfile(PRELUDE + code)
        return pytester.runpytest_subprocess(
            "-p", plugin, "--strict-markers", "--strict-config", *args, timeout=45
        )

    return run
