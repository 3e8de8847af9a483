"""Whatever threads do one after the other, each gets what a simple model says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("hypothesis", reason="it has no wheel for every build")

from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.model.machine import Machine
from wsgi_async import SyncFuture
from wsgi_async.core.base import threads
from wsgi_async.core.managers import registry
from wsgi_async.core.managers.manager import AsyncioLoopManager, lifecycle_of

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_threads_get_what_the_model_says() -> None:
    """Results, errors, look-ups by lineage and states are as documented, in any order of calls."""
    run_state_machine_as_test(Machine, settings=settings())


# -- it has teeth ------------------------------------------------------------------------------


def looks_in_its_own_thread_only(patch: pytest.MonkeyPatch) -> None:
    def find(id: Hashable) -> AsyncioLoopManager | None:
        manager: AsyncioLoopManager | None = threads.current_node().found.get(id)
        return manager if manager is None or manager.state != "stopped" else None

    patch.setattr(registry, "find_manager", find)


def finds_what_lives_on_another_thread(patch: pytest.MonkeyPatch) -> None:
    def find(id: Hashable) -> AsyncioLoopManager | None:
        for node in threads.current_node().line():
            manager: AsyncioLoopManager | None = node.found.get(id)
            if manager is not None and not node.ended and manager.state != "stopped":
                return manager
        return None

    patch.setattr(registry, "find_manager", find)


def takes_any_task_type(patch: pytest.MonkeyPatch) -> None:
    run = AsyncioLoopManager.run

    def lenient(self: AsyncioLoopManager, coro: Any, **options: Any) -> Any:
        return run(self, coro, **{**options, "task_type": self.task_type})

    patch.setattr(AsyncioLoopManager, "run", lenient)


def cancels_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SyncFuture, "cancel", lambda self: False)


def forgets_nothing(patch: pytest.MonkeyPatch) -> None:
    def stop(self: AsyncioLoopManager, timeout: float = 10.0) -> None:
        lifecycle_of(self).stop(timeout)

    patch.setattr(AsyncioLoopManager, "stop", stop)


@pytest.mark.parametrize(
    "broken",
    [
        looks_in_its_own_thread_only,
        finds_what_lives_on_another_thread,
        takes_any_task_type,
        cancels_nothing,
        forgets_nothing,
    ],
)
def test_a_broken_rule_is_found(
    broken: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A library that breaks one of the promises does not pass."""
    broken(monkeypatch)
    with pytest.raises(BaseException) as found:  # noqa: PT011 - whichever check comes first
        run_state_machine_as_test(
            Machine, settings=settings(phases=[Phase.generate], print_blob=False)
        )
    assert isinstance(found.value, (AssertionError, pytest.fail.Exception, BaseExceptionGroup))
