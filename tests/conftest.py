"""What every folder of tests may need."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

# A shell that starts the tests in the background has SIGINT ignored, and the servers that they
# start would inherit that; a handler they do not inherit.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Here, as pytest allows it in no conftest below this one.
pytest_plugins = ["pytester"]


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The folder that holds `tests`: the checkout, or a copy of it beside an installed wheel."""
    return Path(__file__).resolve().parent.parent
