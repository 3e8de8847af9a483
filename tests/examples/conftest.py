"""An example for each test, named by it, alone in a folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from tests.examples.commands import alone, served, started
from tests.project.local_page import local_page
from tests.servers.process import LIMIT, assert_clean

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers.process import Server


@pytest.fixture
def file(request: pytest.FixtureRequest, checkout: Path, tmp_path: Path) -> Path:
    """The example that the test's marker names; the test is skipped without what that imports."""
    marker: Any = request.node.get_closest_marker("example")
    name, *needed = marker.args
    for module in needed:
        pytest.importorskip(module, reason=f"{module} is not installed")
    return alone(checkout, name, tmp_path)


@pytest.fixture
def page() -> Iterator[str]:
    """The address of a page that the examples can load without a network."""
    with local_page() as page:
        yield page.url


@pytest.fixture
def server(file: Path, page: str) -> Iterator[Server]:
    """The example, serving; its log tells of no error in the end."""
    with served(file, PAGE=page) as server:
        yield server
        assert_clean(server)


@pytest.fixture
def client(server: Server) -> Iterator[httpx2.Client]:
    """A client of that."""
    base_url = f"http://127.0.0.1:{server.port}"
    with httpx2.Client(base_url=base_url, trust_env=False, timeout=LIMIT) as client:
        yield client


@pytest.fixture
def script(file: Path) -> Iterator[Server]:
    """The example, running as a script."""
    with started(file) as script:
        yield script
