"""Functions with a task type as a user would write them: type-checked strictly, and run."""
# pyright: reportUnnecessaryTypeIgnoreComment=error

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, assert_type

import pytest

import wsgi_async
from wsgi_async.routing import (
    AsyncTask,
    Manager,
    Route,
    async_task,
    override_routes,
    set_routes,
)
from wsgi_async.routing.tasks import table


@async_task("mail")
async def send(to: str, *, copies: int = 1) -> list[str]:
    return [to] * copies


class Outbox(Route):
    def __init__(self) -> None:
        self.names: list[str] = []

    def submit(
        self, task: AsyncTask[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> str:
        self.names.append(task.name)
        return "a ticket"


def test_a_call_has_the_functions_types() -> None:
    """Arguments and results are those of the function, in a call and in submit()."""
    assert_type(send("ann"), Coroutine[Any, Any, list[str]]).close()
    assert assert_type(wsgi_async.run(send("ann", copies=2)), list[str]) == ["ann", "ann"]
    with override_routes({"mail": Outbox()}) as routes:
        assert_type(routes["mail"], Outbox)
        assert send.submit("ann", copies=2) == "a ticket"
        send.submit(3)  # type: ignore[arg-type]
    assert len(routes["mail"].names) == 2


def test_routes_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt route is found by the type checker, and at run time."""
    monkeypatch.setattr(table, "routes", {})  # so that they end with the test
    set_routes({"mail": "thread", ("image", 1): Manager("images"), "other": Outbox()})
    in_a_variable = {"mail": Outbox()}
    set_routes(in_a_variable)
    with pytest.raises(TypeError, match="The route of 'mail'"):
        set_routes({"mail": "threads"})  # type: ignore[dict-item]
