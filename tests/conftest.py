"""What every folder of tests may need."""

from __future__ import annotations

from pathlib import Path

import pytest

# Here, as pytest allows it in no conftest below this one.
pytest_plugins = ["pytester"]


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The folder that holds `tests`: the checkout, or a copy of it beside an installed wheel."""
    return Path(__file__).resolve().parent.parent
