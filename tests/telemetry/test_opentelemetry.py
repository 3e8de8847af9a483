"""OpenTelemetry's SDK with coroutines: spans of coroutines belong to the request's."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING, Any

import pytest

from tests.core.support import in_process
from tests.telemetry.parts import RUNNERS, request
from wsgi_async import AsyncioLoopManager, AsyncLoopMiddleware, loop_from

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from wsgiref.types import StartResponse, WSGIEnvironment

pytest.importorskip("opentelemetry.sdk", reason="opentelemetry-sdk is not installed")


def start() -> Any:
    """Start the SDK with an exporter that keeps the spans."""
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


def serve(runner: str, view: Callable[[AsyncioLoopManager], None]) -> None:
    """Serve a request inside a span."""
    from opentelemetry import trace

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        with trace.get_tracer("app").start_as_current_span("request"):
            view(loop_from(environ))
        start_response("200 OK", [])
        return []

    request(AsyncLoopMiddleware(app), runner)


def tree(exporter: Any) -> dict[str, str | None]:
    """Each span's name, with its parent's."""
    spans = exporter.get_finished_spans()
    names = {span.context.span_id: span.name for span in spans}
    return {span.name: span.parent and names[span.parent.span_id] for span in spans}


def child_flows(runner: str) -> None:
    from opentelemetry import trace

    exporter, tracer = start(), trace.get_tracer("app")
    logged: list[int] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            logged.append(trace.get_current_span().get_span_context().trace_id)

    logging.getLogger("app").addHandler(Handler())

    async def coroutine(name: str) -> None:
        with tracer.start_as_current_span(name):
            await asyncio.sleep(0)
            logging.getLogger("app").warning("logged")

    async def items() -> AsyncIterator[int]:
        await coroutine("item")
        yield 1

    def view(loop: AsyncioLoopManager) -> None:
        loop.run(coroutine("run"))
        loop.submit_task(coroutine("task")).result()
        list(loop.iterate(items()))

    serve(runner, view)
    parents = tree(exporter)
    assert parents == {"run": "request", "task": "request", "item": "request", "request": None}
    (request_span,) = (one for one in exporter.get_finished_spans() if one.name == "request")
    assert logged == [request_span.context.trace_id] * 3


@pytest.mark.parametrize("runner", RUNNERS)
def test_spans_of_coroutines_belong_to_the_request(runner: str) -> None:
    """Spans and log lines of coroutines, tasks and streams are in the trace of their request."""
    in_process(child_flows, runner)


def child_instrumented(runner: str) -> None:
    os.environ["OTEL_PYTHON_ASYNCIO_COROUTINE_NAMES_TO_TRACE"] = "fetch"
    from opentelemetry.instrumentation.asyncio import AsyncioInstrumentor

    exporter = start()
    AsyncioInstrumentor().instrument()

    async def fetch() -> None:
        await asyncio.sleep(0)

    async def coroutine() -> None:
        await asyncio.gather(fetch(), fetch())

    serve(runner, lambda loop: loop.run(coroutine()))
    spans = exporter.get_finished_spans()
    assert [span.name for span in spans] == ["asyncio coro-fetch"] * 2 + ["request"]
    assert tree(exporter)["asyncio coro-fetch"] == "request"


@pytest.mark.parametrize("runner", RUNNERS)
def test_the_asyncio_instrumentation(runner: str) -> None:
    """What it traces on the loop belongs to the request too."""
    pytest.importorskip("opentelemetry.instrumentation.asyncio")
    in_process(child_instrumented, runner)
