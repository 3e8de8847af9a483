"""The views of all apps: functions without arguments that return text, or coroutines."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from benchmarks.comparison.apps import sync_clients
from benchmarks.comparison.apps.clients import Calls

if TYPE_CHECKING:
    from jinja2 import Template

Views = Mapping[str, Callable[[], Any]]
"""View's key: the view."""

EVENTS, SPACING = 100, 0.001
"""Events of a stream, and seconds between two of them."""

ROWS = 1_500
"""Rows of the template, which make it take about 2 milliseconds."""

COMPUTING = 0.1
"""Seconds of CPU that a CPU-bound request takes."""


def noop() -> str:
    """Do nothing."""
    return "ok"


@cache
def _template() -> Template:
    from jinja2 import Environment

    source = "{% for row in rows %}<li>{{ row }} of {{ loop.length }}</li>{% endfor %}"
    return Environment(autoescape=True).from_string(source)


def template() -> str:
    """Fill in a template; its text is not what is measured."""
    return "ok" if _template().render(rows=range(ROWS)) else ""


def compute() -> str:
    """Compute for a while in pure Python."""
    end = time.thread_time() + COMPUTING
    number = 1
    while time.thread_time() < end:
        for _ in range(1000):
            number = number * 1103515245 + 12345 & 0x7FFFFFFF
    return "ok"


async def events() -> AsyncIterator[bytes]:
    """Make an event from time to time."""
    for number in range(EVENTS):
        await asyncio.sleep(SPACING)
        yield b"data: %d\n\n" % number


def sync_events() -> Iterator[bytes]:
    """Do the same without async code."""
    for number in range(EVENTS):
        time.sleep(SPACING)
        yield b"data: %d\n\n" % number


PLAIN: Views = {"psycopg": sync_clients.query, "compute": compute}
"""Views that are sync everywhere."""


def in_async_views(calls: Calls) -> Views:
    """Return the views as coroutine functions."""

    async def async_noop() -> str:
        return noop()

    async def async_template() -> str:
        return template()

    return {
        **PLAIN,
        "noop": async_noop,
        "template": async_template,
        "http": calls.http,
        "redis": calls.ten_gets,
        "beside": calls.three_gets,
        "postgres": calls.query,
    }


def in_sync_views(calls: Calls, run: Callable[[Coroutine[Any, Any, str]], str]) -> Views:
    """Return the views as functions that run one coroutine after another."""

    def gets(count: int) -> str:
        (text,) = {run(calls.get()) for _ in range(count)}
        return text

    return {
        **PLAIN,
        "noop": noop,
        "template": template,
        "http": lambda: run(calls.http()),
        "redis": lambda: gets(10),
        "beside": lambda: gets(3),
        "postgres": lambda: run(calls.query()),
    }


def with_sync_clients() -> Views:
    """Return the views as functions without async code."""
    return {
        **PLAIN,
        "noop": noop,
        "template": template,
        "http": sync_clients.three_calls,
        "redis": lambda: sync_clients.gets(10),
        "beside": lambda: sync_clients.gets(3),
    }
