"""Middleware of every kind; what it has seen goes into the response's headers."""

from __future__ import annotations

import asyncio
from threading import get_ident
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.db import connection, connections
from django.http import StreamingHttpResponse
from django.template import engines
from django.template.response import TemplateResponse
from django.utils import translation
from django.utils.decorators import sync_and_async_middleware


class Evidence:
    """Sync, outermost: which thread and which connection the request has."""

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        request.worker = get_ident()
        request.connection = id(connections["default"])
        connection.force_debug_cursor = True
        try:
            response = self.get_response(request)
            queries = [query["sql"].split()[0] for query in connection.queries]
        finally:
            connection.force_debug_cursor = False
        response["X-Queries"] = " ".join(queries)
        response["X-Language"] = translation.get_language()
        return response


@sync_and_async_middleware
def either(get_response: Any) -> Any:
    """Of both kinds; says as which it runs."""
    if iscoroutinefunction(get_response):

        async def from_async(request: Any) -> Any:
            response = await get_response(request)
            response["X-Either"] = "async"
            return response

        return from_async

    def from_sync(request: Any) -> Any:
        response = get_response(request)
        response["X-Either"] = "sync"
        return response

    return from_sync


class AsyncOnly:
    """Async only; says which loop it runs on."""

    sync_capable = False
    async_capable = True

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response
        markcoroutinefunction(self)

    async def __call__(self, request: Any) -> Any:
        await asyncio.sleep(0)
        response = await self.get_response(request)
        response["X-Loop"] = id(asyncio.get_running_loop())
        return response


class AsyncHooks:
    """Sync, with async hooks."""

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        return self.get_response(request)

    async def process_view(self, request: Any, view: Any, args: Any, kwargs: Any) -> None:
        await asyncio.sleep(0)
        request.loop_before = id(asyncio.get_running_loop())

    async def process_exception(self, request: Any, error: Exception) -> Any:
        await asyncio.sleep(0)
        if isinstance(error, ArithmeticError):
            template = engines["django"].from_string(
                "{{ error }} {{ before }} {{ loop }} {{ late }}"
            )
            facts = {
                "error": type(error).__name__,
                "before": request.loop_before,
                "loop": id(asyncio.get_running_loop()),
            }
            return TemplateResponse(request, template, facts)
        return None

    async def process_template_response(self, request: Any, response: Any) -> Any:
        await asyncio.sleep(0)
        response.context_data["late"] = id(asyncio.get_running_loop())
        return response


class AsyncAnswer:
    """Async only; answers one path with a stream of its own."""

    sync_capable = False
    async_capable = True

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response
        markcoroutinefunction(self)

    async def __call__(self, request: Any) -> Any:
        async def numbers() -> Any:
            for number in range(3):
                await asyncio.sleep(0)
                yield str(number)

        if request.path == "/from-middleware":
            return StreamingHttpResponse(numbers())
        return await self.get_response(request)
