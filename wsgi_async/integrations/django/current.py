"""`current_loop`: the manager of the current request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wsgi_async.core import AsyncioLoopManager, OutsideRequestError
from wsgi_async.core.managers.current import request_manager

from .test_client import loop_of_test

__all__ = ["current_loop"]


def _find() -> AsyncioLoopManager:
    reference = request_manager.get()
    manager = loop_of_test() if reference is None else reference()
    if manager is None:
        raise OutsideRequestError(
            "current_loop was used outside of a request, or of a request without a loop. Have "
            "wsgi.py use get_wsgi_application() of wsgi_async.integrations.django. Outside of a "
            "request, call wsgi_async.run()."
        )
    return manager


class _CurrentLoop:
    """Stands for the current request's manager. Lives as long as the process."""

    __slots__ = ()

    if not TYPE_CHECKING:  # pragma: no branch - only type checkers skip this
        __class__ = property(lambda _: AsyncioLoopManager)  # for isinstance(), anywhere

    def __getattr__(self, name: str) -> Any:
        return getattr(_find(), name)

    def __repr__(self) -> str:
        try:
            return repr(_find())
        except OutsideRequestError:
            return "<current_loop outside of a request>"

    def __eq__(self, other: object) -> bool:
        return _find() == other

    def __hash__(self) -> int:
        return hash(_find())


current_loop: AsyncioLoopManager = _CurrentLoop()  # type: ignore[assignment]
"""The `AsyncioLoopManager` of the current request.

It works in the request's own thread, in its coroutines, and in the background tasks that they
submit. Outside a request it raises `RuntimeError`. With Django's test client it is the manager of
the thread that runs the test.
"""
