"""An application whose requests each have a secret, and which tells when one sees another's.

Every request has a secret of its own and finds out, in one of many ways, which secrets it can see.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import io
import logging
import random
import re
import threading
import traceback
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from wsgi_async import loop_resource, run_in_calling_thread, scope_from

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator
    from wsgiref.types import StartResponse, WSGIEnvironment

    from wsgi_async import AsyncioLoopManager

LIMIT = 30.0
_SECRET = re.compile(r"secret-\d+-\d+")

secret_of_request: ContextVar[str] = ContextVar("secret of the request", default="")


class Leaks:
    """The secrets that were seen where they must not be. Any thread may add to it."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def check(self, own: str, seen: str, where: str) -> None:
        """Each secret in a text has to be the request's own."""
        if foreign := set(_SECRET.findall(seen)) - {own}:
            self.found.append(f"{where}: {own or 'nobody'} saw {sorted(foreign)[:3]}")


leaks = Leaks()


class LogCheck(logging.Handler):
    """Takes what is logged, and finds records in which there are the secrets of two requests."""

    def __init__(self) -> None:
        super().__init__()
        self.records = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.records += 1
        text = self.format(record)
        secrets = _SECRET.findall(text)
        leaks.check(secrets[0] if secrets else "", text, "log")
        # The record is made where the loop runs, in the context of the one coroutine or of none.
        here = secret_of_request.get()
        if here and secrets:
            leaks.check(here, text, "the context that logs")


class Failure(Exception):
    """Carries the secret of the request that it is raised in."""


@loop_resource
async def client() -> AsyncIterator[dict[str, str]]:
    """Something that requests share; it must not know the one that opened it."""
    leaks.check("", secret_of_request.get(), "opening of a resource")
    yield {"opened": secret_of_request.get()}


async def see() -> str:
    """What a coroutine sees, after others had their turn."""
    await asyncio.sleep(0)
    return secret_of_request.get()


async def fail(secret: str) -> None:
    """Fail with a cause, a context and a note."""
    try:
        try:
            await asyncio.sleep(0)
            raise Failure(f"inner {secret}")
        except Failure as inner:
            inner.add_note(f"note of {secret}")
            raise Failure(secret) from inner
    except Failure as error:
        error.add_note(secret_of_request.get())
        raise


async def ticks() -> AsyncIterator[str]:
    for _ in range(2):
        await asyncio.sleep(0)
        yield secret_of_request.get()


async def later(secret: str) -> None:
    """A task that outlives its request."""
    for _ in range(3):
        await asyncio.sleep(0)
    leaks.check(secret, secret_of_request.get(), "background task")
    if secret_of_request.get() != secret:
        leaks.found.append(f"background task: {secret} lost its context")


def everything_of(error: BaseException) -> str:
    """The whole chain of an exception as text: messages, notes, causes and contexts."""
    seen: set[int] = set()
    texts, left = [], [error]
    while left:
        one = left.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        texts += [str(one), *getattr(one, "__notes__", ())]
        left += [each for each in (one.__cause__, one.__context__) if each is not None]
    return "\n".join([*texts, *traceback.format_exception(error)])


class View:
    """One request."""

    def __init__(self, environ: WSGIEnvironment) -> None:
        self.environ = environ
        self.secret: str = environ["HTTP_X_SECRET"]
        self.loop: AsyncioLoopManager = environ["async.loop"]

    def expect(self, seen: str, where: str) -> None:
        leaks.check(self.secret, seen, where)
        if self.secret not in seen:
            leaks.found.append(f"{where}: {self.secret} does not see its own")

    def run(self) -> None:
        self.expect(self.loop.run(see()), "run")

    def gather(self) -> None:
        async def both() -> tuple[str, str]:
            return await asyncio.gather(see(), see())

        for seen in self.loop.run(both()):
            self.expect(seen, "gather")

    def submit(self) -> None:
        self.expect(self.loop.submit_task(see()).result(LIMIT), "submit_task")
        self.loop.submit_task(later(self.secret))

    def scope(self) -> None:
        scope = self.environ["async.scope"]
        assert scope is scope_from(self.environ)
        assert repr(scope).startswith("<RequestScope open")
        scope.timeout(LIMIT)
        left = scope.submit_task(asyncio.sleep(LIMIT, self.secret))
        self.expect(scope.submit_task(see()).result(), "scope")
        left.cancel()

    def fail(self) -> None:
        """An exception in the midst of the handling of another one."""
        try:
            raise Failure(f"outer {self.secret}")
        except Failure:
            try:
                self.loop.run(fail(self.secret))
            except Failure as error:
                self.expect(everything_of(error), "exception")

    def fail_later(self) -> None:
        future = self.loop.submit_task(fail(self.secret))
        error = future.exception(LIMIT)
        assert error is not None
        self.expect(everything_of(error), "exception of a task")

    def forget(self) -> None:
        """The log tells of it."""
        self.loop.submit_task(fail(self.secret))

    def time_out(self) -> None:
        try:
            self.loop.run(asyncio.sleep(LIMIT, self.secret), timeout=0)
        except TimeoutError as error:
            leaks.check(self.secret, everything_of(error), "timeout")

    def cancel(self) -> None:
        future = self.loop.submit_task(asyncio.sleep(LIMIT, self.secret))
        future.cancel()
        try:
            future.result(LIMIT)
        except concurrent.futures.CancelledError as error:
            leaks.check(self.secret, everything_of(error), "cancellation")

    def resource(self) -> None:
        leaks.check("", str(client.get(self.loop)), "resource")

    def ask_caller(self) -> None:
        seen = self.loop.run(run_in_calling_thread(secret_of_request.get))
        self.expect(seen, "run_in_calling_thread")

    def stream(self) -> Iterator[bytes]:
        with self.loop.iterate(ticks()) as seen:
            for each in seen:
                self.expect(each, "stream")
                self.expect(secret_of_request.get(), "body of a stream")
                yield each.encode()


KINDS = (
    *("run", "run", "run", "run", "run", "run", "run", "run", "gather", "submit", "scope"),
    *("fail", "fail_later", "forget", "time_out", "cancel", "resource", "ask_caller", "stream"),
)


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answers with the secret."""
    leaks.check("", secret_of_request.get(), "start of a request")
    view = View(environ)
    secret_of_request.set(view.secret)
    start_response("200 OK", [("Content-Type", "text/plain")])
    if environ["PATH_INFO"] == "/found":
        secret_of_request.set("")
        return ["\n".join(leaks.found).encode()]
    answer = getattr(view, environ["PATH_INFO"].strip("/").partition("/")[0])()
    return [view.secret.encode()] if answer is None else answer


def serve_many(app: Any, name: str, requests: int) -> None:
    """One thread's requests, each with a secret of its own, right after each other."""
    rng = random.Random(name)
    for number in range(requests):
        secret = f"secret-{name}-{number}"
        kind = rng.choice(KINDS)
        environ = {
            "REQUEST_METHOD": "GET",
            "PATH_INFO": f"/{kind}/{secret}",
            "HTTP_X_SECRET": secret,
            "wsgi.input": io.BytesIO(),
            "wsgi.multithread": True,
        }
        body = app(environ, _start)
        sent = b"".join(body).decode()
        close = getattr(body, "close", None)
        if close is not None:
            close()
        leaks.check(secret, sent, f"answer of {kind}")
        assert secret in sent, kind


def _start(status: str, headers: list[tuple[str, str]], exc_info: Any = None, /) -> Any:
    assert status == "200 OK"
    return lambda piece: None


def at_once(count: int, call: Any) -> None:
    """Call it in so many threads at the same time, with their numbers."""
    barrier = threading.Barrier(count)

    def begin(number: int) -> None:
        barrier.wait(LIMIT)
        call(number)

    with concurrent.futures.ThreadPoolExecutor(count) as threads:
        for done in [threads.submit(begin, number) for number in range(count)]:
            done.result()
