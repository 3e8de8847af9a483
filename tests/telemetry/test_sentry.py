"""Sentry's SDK with coroutines: what flows from a request to them, and what they send."""

from __future__ import annotations

import gc
import importlib
import importlib.util
import logging
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.core.support import in_process
from tests.telemetry.parts import RUNNERS, request
from wsgi_async import AsyncioLoopManager, AsyncLoopMiddleware, loop_from

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

# Not imported here: it imports eventlet where that is installed, which has forks warned of.
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("sentry_sdk") is None, reason="sentry-sdk is not installed"
)


def sdk() -> Any:
    """The SDK, without eventlet, which it would import."""
    sys.modules["eventlet"] = None  # type: ignore[assignment]
    return importlib.import_module("sentry_sdk")


def start(**options: Any) -> list[dict[str, Any]]:
    """Start the SDK with a transport that keeps what would be sent; returns that."""
    sentry_sdk = sdk()
    from sentry_sdk.transport import Transport

    events: list[dict[str, Any]] = []

    class Kept(Transport):
        def capture_envelope(self, envelope: Any) -> None:
            events.extend(item.payload.json for item in envelope.items)

    # It would import every library that is installed, and their warnings would be errors.
    options["auto_enabling_integrations"] = False
    sentry_sdk.init(dsn="http://key@localhost/1", transport=Kept, **options)
    return events


def set_up_loop() -> None:
    from sentry_sdk.integrations.asyncio import enable_asyncio_integration

    enable_asyncio_integration()


def wrapped(view: Any) -> Any:
    from sentry_sdk.integrations.wsgi import SentryWsgiMiddleware

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        view(loop_from(environ))
        start_response("200 OK", [])
        return []

    return SentryWsgiMiddleware(AsyncLoopMiddleware(app, on_start=set_up_loop))


def child_flows(runner: str) -> None:
    import asyncio

    sentry_sdk = sdk()

    events = start()

    async def inner() -> None:
        sentry_sdk.capture_message("from a task")

    async def coroutine() -> None:
        sentry_sdk.capture_message("from a coroutine")
        await asyncio.create_task(inner())

    def view(loop: AsyncioLoopManager) -> None:
        sentry_sdk.set_tag("order", "7")
        loop.run(coroutine())
        loop.submit_task(coroutine()).result()

    request(wrapped(view), runner)
    sentry_sdk.capture_message("after the request")
    *requests, after = events
    assert len(requests) == 4
    for event in requests:
        assert event["tags"] == {"order": "7"}
        assert event["request"]["url"] == "http://127.0.0.1/orders"
    assert "tags" not in after


@pytest.mark.parametrize("runner", RUNNERS)
def test_a_requests_scope_is_that_of_its_coroutines(runner: str) -> None:
    """Messages of coroutines, of tasks, and of background tasks carry the request and its tags."""
    in_process(child_flows, runner)


def child_spans(runner: str) -> None:
    sentry_sdk = sdk()

    events = start(traces_sample_rate=1.0)

    async def fetch() -> None:
        with sentry_sdk.start_span(op="http", name="GET /prices"):
            pass

    request(wrapped(lambda loop: loop.run(fetch())), runner)
    (transaction,) = events
    spans = {span["description"]: span for span in transaction["spans"]}
    name = "child_spans.<locals>.fetch"
    assert set(spans) == {name, "GET /prices"}
    assert spans["GET /prices"]["parent_span_id"] == spans[name]["span_id"]
    assert spans[name]["parent_span_id"] == transaction["contexts"]["trace"]["span_id"]


@pytest.mark.parametrize("runner", RUNNERS)
def test_coroutines_are_spans_of_the_request(runner: str) -> None:
    """With the integration each coroutine is a span by its name, inside the request's."""
    in_process(child_spans, runner)


def child_fails() -> None:
    logging.getLogger("wsgi_async").addHandler(logging.NullHandler())  # not to stderr
    events = start()

    async def fails() -> None:
        raise LookupError("no price")

    def view(loop: AsyncioLoopManager) -> None:
        loop.submit_task(fails())
        loop.run(fails())

    app = wrapped(view)
    with pytest.raises(LookupError):
        list(app({"REQUEST_METHOD": "GET", "PATH_INFO": "/orders"}, lambda *_: bytes))
    gc.collect()
    for manager in AsyncioLoopManager.all_instances():
        manager.stop()
    gc.collect()
    for event in events:
        print(event.get("logger"), event.get("exception", {}).get("values", [{}])[-1].get("type"))


def test_failures_are_sent_once() -> None:
    """A run() that fails is the view's failure, and a background task's comes by way of the log."""
    lines = in_process(child_fails).splitlines()
    assert sorted(lines) == ["None LookupError", "wsgi_async LookupError"]
