"""What the soak serves: an application that uses every part of the library.

A request names its kind, a token that the answer repeats, and a number.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import json
import os
import re
import sys
import threading
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import wsgi_async
from tests.soak import watch, work
from wsgi_async import (
    AsyncioLoopManager,
    AsyncLoopMiddleware,
    LoopThreadPoolExecutor,
    ManagerStateError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from wsgiref.types import StartResponse, WSGIEnvironment


class Request:
    """One request, and what the views need of it."""

    def __init__(self, environ: WSGIEnvironment) -> None:
        query = dict(parse_qsl(environ["QUERY_STRING"]))
        self.loop: AsyncioLoopManager = environ["async.loop"]
        self.scope: wsgi_async.RequestScope = environ["async.scope"]
        self.token = query.get("token", "")
        self.number = int(query.get("number", 0))
        self.what = query.get("what", "")


def run(request: Request) -> Any:
    return request.loop.run(work.total(request.number))


def upstream(request: Request) -> Any:
    return request.loop.run(work.ask_upstream(request.token, request.number))


def database(request: Request) -> Any:
    return request.loop.run(work.write_and_read(request.token, request.number))


def submit(request: Request) -> Any:
    """Submit, and wait for it; beside it a task that outlives the response."""
    request.loop.submit_task(work.total(request.number + 10))
    future = request.loop.submit_task(work.total(request.number))
    concurrent.futures.wait([future], 20)
    return future.result()


def scope(request: Request) -> Any:
    """Leave a task behind, which ends with the request."""
    request.scope.submit_task(work.forever("scope"))
    return request.scope.submit_task(work.total(request.number)).result()


def time_out(request: Request) -> Any:
    try:
        request.loop.run(work.forever("time_out"), timeout=request.number / 1000)
    except TimeoutError:
        return "TimeoutError"


def deadline(request: Request) -> Any:
    request.scope.timeout(request.number / 1000)
    try:
        request.loop.run(work.forever("deadline"))
    except TimeoutError:
        return "TimeoutError"


def cancel(request: Request) -> Any:
    future = request.loop.submit_task(work.forever("cancel"))
    if request.number % 2:
        future.wait(0.001)
    future.cancel()
    try:
        future.result(20)
    except concurrent.futures.CancelledError:
        return future.cancelled()


def fail(request: Request) -> Any:
    """What the coroutine raised, with the token that it was given."""
    try:
        request.loop.run(work.fail(request.what, request.token))
    except BaseException as error:
        wanted = work.RAISES[request.what]
        return [isinstance(error, wanted), request.token in error.args or request.what[0] == "C"]


def escape(request: Request) -> Any:
    """Let it out: the server answers 500."""
    request.loop.run(work.fail("Planned", request.token))


def unretrieved(request: Request) -> Any:
    request.loop.submit_task(work.fail("Planned", request.token))
    return request.loop.run(work.total(request.number))


def caller(request: Request) -> Any:
    return request.loop.run(work.from_caller(request.token))


def thread(request: Request) -> Any:
    """A thread of its own, which finds a loop or makes one and ends it."""
    found: concurrent.futures.Future[int] = concurrent.futures.Future()

    def call() -> None:
        work.token_of_request.set(request.token)
        try:
            found.set_result(wsgi_async.run(work.total(request.number)))
        except BaseException as error:
            found.set_exception(error)

    one = threading.Thread(target=call)
    one.start()
    one.join()
    return found.result(0)


def pool(request: Request) -> Any:
    """A pool of loops for one request."""
    with LoopThreadPoolExecutor(2) as threads:
        futures = [threads.submit(_in_pool, request) for _ in range(2)]
        return next(future.result(20) for future in futures)


def _in_pool(request: Request) -> int:
    work.token_of_request.set(request.token)
    return wsgi_async.run(work.total(request.number))


def manager(request: Request) -> Any:
    with AsyncioLoopManager() as one:
        left = one.submit_task(work.forever("manager"))
        result = one.run(work.total(request.number))
    assert left.done()
    return result


def stream(request: Request) -> Iterator[bytes]:
    return _lines(request, request.number)


def endless(request: Request) -> Iterator[bytes]:
    return _lines(request, None)


def _lines(request: Request, count: int | None) -> Iterator[bytes]:
    prefetch = request.number % 3
    with request.loop.iterate(work.ticks(request.token, count), prefetch=prefetch) as lines:
        yield from lines


def slow(request: Request) -> Any:
    """Its client leaves before the answer comes."""
    request.loop.run(asyncio.sleep(request.number / 1000))


def warm(request: Request) -> Any:
    """Keep the thread for a while, so that the other requests like it come to other threads."""
    request.loop.run(work.ask_upstream(request.token, 1))
    request.loop.run(work.write_and_read(request.token, 1))
    time.sleep(0.2)
    return work.resources_open()


def tasks_on(manager: AsyncioLoopManager) -> int:
    try:
        return len(asyncio.all_tasks(manager.get_event_loop()))
    except ManagerStateError:
        return 0  # stopped meanwhile


def stats(request: Request) -> Any:
    """What there is in this process."""
    gc.collect()
    managers = AsyncioLoopManager.all_instances()
    return {
        "in flight": sum(int(re.findall(r"in_flight=(\d+)", repr(one))[0]) for one in managers),
        "tasks": sum(tasks_on(one) for one in managers),
        "managers": len(managers),
        "blocks": sys.getallocatedblocks(),
        **watch.of_process(os.getpid()),
        **work.open_now(),
    }


VIEWS: dict[str, Callable[[Request], Any]] = {
    view.__name__: view
    for view in (
        *(run, upstream, database, submit, scope, time_out, deadline, cancel, fail, escape),
        *(unretrieved, caller, thread, pool, manager, stream, endless, slow, warm, stats),
    )
}

# The recycled servers note each request that has reached the application.
_begun = os.environ.get("SOAK_BEGUN")
_notes = os.open(_begun, os.O_WRONLY | os.O_APPEND | os.O_CREAT) if _begun else None


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """The application itself."""
    request = Request(environ)
    if _notes is not None:
        os.write(_notes, f"{request.token}\n".encode())
    assert work.token_of_request.get("") == "", "a context of another request"
    work.token_of_request.set(request.token)
    answer = VIEWS[environ["PATH_INFO"].strip("/")](request)
    if hasattr(answer, "__next__"):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return answer  # type: ignore[no-any-return]
    body = json.dumps({"token": request.token, "value": answer}).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    start_response("200 OK", headers)
    return [body]


app = AsyncLoopMiddleware(application)
