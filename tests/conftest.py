"""What every folder of tests may need."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from wsgi_async import AsyncioLoopManager

if TYPE_CHECKING:
    from collections.abc import Iterator

# A shell that starts the tests in the background has SIGINT ignored, and the servers that they
# start would inherit that; a handler they do not inherit.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Here, as pytest allows it in no conftest below this one.
pytest_plugins = ["pytester"]


@pytest.fixture(autouse=True, scope="module")
def _nothing_goes_on_in_the_next_file() -> Iterator[None]:
    """What a file's tests leave running in the main thread is stopped with the last of them."""
    yield
    for manager in AsyncioLoopManager.all_instances():
        manager.stop()


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The folder that holds `tests`: the checkout, or a copy of it beside an installed wheel."""
    return Path(__file__).resolve().parent.parent
