"""`resource.override()`: another value in a resource's place, for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.core.support import Worker, on_worker

if TYPE_CHECKING:
    from tests.core.conftest import MakeManager
    from tests.resources.parts import Diary


@on_worker
def test_everywhere(make_manager: MakeManager, worker: Worker, diary: Diary) -> None:
    """On all loops and in all threads, opened already or not; nothing is opened for it."""
    one, two = make_manager("one"), make_manager("two")
    client = diary.resource("client")
    real = one.run(client())
    with client.override("fake") as fake:
        assert fake == "fake"
        for manager in (one, two):
            assert manager.run(client()) == "fake"  # type: ignore[comparison-overlap]
            assert client.get(manager) == "fake"  # type: ignore[comparison-overlap]
        assert worker.call(client.get) == "fake"  # type: ignore[comparison-overlap]
    assert one.run(client()) is real
    assert client.get(one) is real
    assert diary.lines == ["open client"]


@on_worker
def test_nested(make_manager: MakeManager, diary: Diary) -> None:
    """The one entered last counts, and leaving brings back the one before."""
    manager = make_manager()
    client = diary.resource("client")
    real = manager.run(client())
    with client.override(1):
        with client.override(None):
            assert manager.run(client()) is None
        assert manager.run(client()) == 1  # type: ignore[comparison-overlap]
        assert client.get(manager) == 1  # type: ignore[comparison-overlap]
    assert manager.run(client()) is real


@on_worker
def test_left_in_another_order(make_manager: MakeManager, diary: Diary) -> None:
    """Entered and left by hand, in any order, each takes back its own value only."""
    manager = make_manager()
    client = diary.resource("client")
    first, second = client.override(1), client.override(2)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert manager.run(client()) == 2  # type: ignore[comparison-overlap]
    second.__exit__(None, None, None)
    second.__exit__(None, None, None)
    assert manager.run(client()).name == "client"


@on_worker
def test_after_an_error(make_manager: MakeManager, diary: Diary) -> None:
    """A test that fails leaves nothing overridden."""
    manager = make_manager()
    client, other = diary.resource("client"), diary.resource("other")

    def fails() -> None:
        with client.override(1):
            assert manager.run(other()).name == "other"
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert manager.run(client()).name == "client"


def test_without_a_manager(diary: Diary) -> None:
    """A test of sync code needs no loop at all."""
    client = diary.resource("client")
    with client.override("fake"):
        assert client.get() == "fake"  # type: ignore[comparison-overlap]
