"""Task types: a manager that was started for one takes only coroutines of the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.core.support import give, on_worker
from wsgi_async import UnknownAsyncTaskError

if TYPE_CHECKING:
    from tests.core.conftest import MakeManager


@on_worker
def test_the_same_type_is_taken(make_manager: MakeManager) -> None:
    """Work with the manager's own label runs, in every way to hand it over."""
    manager = make_manager(task_type="mail")
    assert manager.run(give(1), task_type="mail") == 1
    assert manager.submit_task(give(2), task_type="mail").result() == 2
    assert manager.submit_task(give(3), True, "mail").result() == 3


@pytest.mark.parametrize(("started", "given"), [("mail", "web"), ("mail", None), (None, "web")])
@on_worker
def test_another_type_is_refused(
    make_manager: MakeManager, started: str | None, given: str | None
) -> None:
    """A label too few or too many is refused as well as a wrong one; the error has both."""
    manager = make_manager(task_type=started)
    for call in (manager.run, manager.submit_task):
        with pytest.raises(UnknownAsyncTaskError) as caught:
            call(give(1), task_type=given)
        error = caught.value
        assert (error.given_type, error.expected_type) == (given, started)
        assert repr(given) in str(error)
        assert repr(started) in str(error)
    assert manager.run(give("goes on"), task_type=started) == "goes on"


@on_worker
def test_types_are_compared_by_equality(make_manager: MakeManager) -> None:
    """Any label will do, as long as it equals the manager's."""
    manager = make_manager(task_type=("mail", 1))
    assert manager.run(give(1), task_type=("mail", 1)) == 1


@on_worker
def test_no_type_without_one(make_manager: MakeManager) -> None:
    """Who uses no labels never meets them."""
    manager = make_manager()
    assert manager.run(give(1)) == 1
    assert manager.task_type is None


@on_worker
def test_each_start_has_its_own_type(make_manager: MakeManager) -> None:
    """A manager may be started again for another type."""
    manager = make_manager(task_type="mail")
    manager.stop()
    manager.start("web")
    assert manager.run(give(1), task_type="web") == 1
    with pytest.raises(UnknownAsyncTaskError):
        manager.run(give(1), task_type="mail")
    manager.stop()
    manager.start()
    assert manager.run(give(1)) == 1


def test_the_error_as_an_object() -> None:
    """The error can be made, shown and caught as a `ValueError`."""
    error = UnknownAsyncTaskError("web", "mail")
    assert isinstance(error, ValueError)
    assert (error.given_type, error.expected_type) == ("web", "mail")
    assert "'web'" in str(error)
    assert "'mail'" in str(error)


def test_a_type_that_cannot_be_hashed() -> None:
    """A list, which no manager can have been started for, gets the same message."""
    assert "not ['mail']. Pass task_type=" in str(UnknownAsyncTaskError(["mail"], None))
