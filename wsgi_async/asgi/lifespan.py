"""An ASGI app's lifespan on one loop."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

from wsgi_async.core.base.log import logger
from wsgi_async.core.loops.open_resources import resources_of
from wsgi_async.wsgi.bodies import KEY

from .http_scope import VERSIONS

if TYPE_CHECKING:
    from collections.abc import Hashable

    from wsgi_async.core import AsyncioLoopManager

    from .middleware import ASGIApplication, Message, Scope

__all__ = ["Lifespan", "state_of"]

State = dict[str, Any]

_MISSING: Any = object()


async def state_of(
    key: Hashable, app: ASGIApplication, name: str, manager: AsyncioLoopManager
) -> State | None:
    """The state that the app's lifespan on the running loop has for requests.

    The first call begins the lifespan. It is a resource of the loop, so it ends when the manager is
    stopped.

    Args:
        key: Identifies the lifespan among the loop's resources.
        app: The app.
        name: The app's name in the log.
        manager: The manager of this loop.

    Returns:
        The state; None if the app has no lifespan.

    Raises:
        BaseException: The app raised it in its startup. The next call tries again.
    """
    resources = resources_of(asyncio.get_running_loop())
    state: State | None = resources.instances.get(key, _MISSING)
    if state is _MISSING:
        state = await resources.instance(key, f"lifespan of {name}", lambda: _of(app, manager))
    return state


def _of(app: ASGIApplication, manager: AsyncioLoopManager) -> Lifespan:
    return Lifespan(app, {"type": "lifespan", "asgi": VERSIONS, "state": {}, KEY: manager})


class Lifespan(AbstractAsyncContextManager["State | None"]):
    """One lifespan, with its startup and shutdown. Lives on its loop until it is exited.

    Args:
        app: The app.
        scope: The lifespan's ASGI scope.
    """

    def __init__(self, app: ASGIApplication, scope: Scope) -> None:
        loop = asyncio.get_running_loop()
        self._app = app
        self._scope = scope
        self._knows = False  # the app has received the startup message, and may know what it is
        self._started: asyncio.Future[bool] = loop.create_future()  # whether the app has a lifespan
        self._supported = False
        self._stopping = asyncio.Event()
        self._told = False  # the app has received the shutdown message
        self._failure = ""  # the reason that the app gives for a failed shutdown
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> State | None:
        self._task = asyncio.create_task(self._live(), name="lifespan")
        try:
            self._supported = await self._started
        finally:
            if not self._supported:
                self._task.cancel()
                self._task = None
        return self._scope["state"] if self._supported else None

    async def __aexit__(self, *_: object) -> None:
        self._stopping.set()
        task, self._task = self._task, None
        if task is not None:
            await task
        if self._failure:
            raise RuntimeError(self._failure)

    async def _live(self) -> None:
        try:
            await self._app(self._scope, self._receive, self._send)
        except Exception as error:
            if self._supported:
                raise
            if self._started.done():
                return  # the outcome of the startup is known already
            if self._knows:
                self._started.set_exception(error)
                return
            logger.debug("The ASGI app has no lifespan: %r", error)
        except BaseException as error:
            if not self._started.done():
                failure = _failed("startup", {"message": repr(error)})
                failure.__cause__ = error
                self._started.set_exception(failure)
            raise
        if not self._started.done():
            self._started.set_result(False)

    async def _receive(self) -> Message:
        if not self._started.done():
            if not self._knows:
                self._knows = True
                return {"type": "lifespan.startup"}
            # The app takes any message for a part of a request. It would wait for the next forever.
            self._started.set_result(False)
        await self._stopping.wait()
        if self._told:
            await asyncio.get_running_loop().create_future()
        self._told = True
        return {"type": "lifespan.shutdown"}

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "lifespan.startup.complete":
            self._started.set_result(True)
        elif kind == "lifespan.startup.failed":
            self._started.set_exception(_failed("startup", message))
        elif kind == "lifespan.shutdown.failed":
            self._failure = str(_failed("shutdown", message))
        elif kind != "lifespan.shutdown.complete":
            self._knows = False
            raise RuntimeError(f"{kind!r} is not a message of a lifespan.")


def _failed(what: str, message: Message) -> RuntimeError:
    told = message.get("message") or "it gave no reason"
    return RuntimeError(f"The {what} of the ASGI app's lifespan failed: {told}")
