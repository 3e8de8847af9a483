"""A forked child has a loop of its own, and so an instance of its own."""

from __future__ import annotations

import asyncio
import os

import pytest

from tests.core.forking import in_child, started
from tests.core.support import in_process
from tests.resources.parts import Diary

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


def fork_with_an_open_resource(loop: str) -> None:
    diary = Diary()
    client = diary.resource("client")
    manager = started(loop=loop)
    parents = client.get(manager)

    def child() -> None:
        own = client.get()
        assert own is not parents
        with pytest.raises(RuntimeError, match="parent process"):
            client.get(manager)
        assert asyncio.run(client()) is not own
        assert diary.lines == ["open client"] * 3 + ["close client"]

    in_child(child, "exit")
    assert client.get(manager) is parents
    manager.stop()
    assert diary.lines == ["open client", "close client"]


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_child_opens_its_own(loop: str) -> None:
    """The parent's instance is neither used nor closed in the child."""
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    in_process(fork_with_an_open_resource, loop)
