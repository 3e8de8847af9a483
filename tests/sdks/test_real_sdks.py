"""SDKs themselves, as their users write it: one agent, model or client at module level.

Skipped where they are not installed. They answer from a server of the tests' own.
"""

from __future__ import annotations

import asyncio
import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from tests.core.support import LIMIT
from tests.middleware.test_scope import app_of
from tests.middleware.wsgi import running_loop, serve
from tests.project.local_chat import local_chat
from wsgi_async import loop_from, run

# SDKs leave the closing of their clients to the collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from wsgiref.types import WSGIEnvironment

THREADS, REQUESTS = 4, 40
ANSWER = "Hello there!"


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The fake's address, where the SDKs find it."""
    with local_chat() as address:
        monkeypatch.setenv("OPENAI_BASE_URL", address)
        monkeypatch.setenv("OPENAI_API_KEY", "none")
        yield address


def answers(ask: Callable[[], str], **options: Any) -> list[str]:
    """Serve requests on several threads at once, each of which asks."""

    def app(environ: WSGIEnvironment) -> list[bytes]:
        return [ask().encode()]

    wrapped = app_of(app, id=object(), per="process", adopt=True, timeout=LIMIT, **options)
    together = threading.Barrier(THREADS)

    def visit(number: int) -> str:
        if number < THREADS:
            together.wait(LIMIT)
        return serve(wrapped).decode()

    with ThreadPoolExecutor(THREADS) as threads:
        return list(threads.map(visit, range(REQUESTS)))


def stop(close: Callable[[], Any] | None = None) -> None:
    """Close a client on the process's loop, and end that."""
    from wsgi_async import AsyncioLoopManager

    for manager in AsyncioLoopManager.all_instances():
        if manager.running and type(manager.id) is object:
            if close is not None:
                manager.run(close())
            manager.stop()
    gc.collect()


def test_pydantic_ai(url: str) -> None:
    """`agent.run_sync()` with an agent at module level, in each request."""
    agents = pytest.importorskip("pydantic_ai")
    models = pytest.importorskip("pydantic_ai.models.openai")
    agent = agents.Agent(models.OpenAIChatModel("fake"))
    assert answers(lambda: str(agent.run_sync("Hi").output)) == [ANSWER] * REQUESTS
    stop()


def test_pydantic_ai_streams(url: str) -> None:
    """`agent.run_stream_sync()`, whose context manager stays open between its calls."""
    agents = pytest.importorskip("pydantic_ai")
    models = pytest.importorskip("pydantic_ai.models.openai")
    agent = agents.Agent(models.OpenAIChatModel("fake"))

    def ask() -> str:
        with agent.run_stream_sync("Hi") as result:
            return "".join(result.stream_text(delta=True, debounce_by=None))

    assert answers(ask) == [ANSWER] * REQUESTS
    stop()


def test_openai_agents(url: str) -> None:
    """`Runner.run_sync()` with an agent at module level, in each request."""
    agents: Any = pytest.importorskip("agents")
    agents.set_tracing_disabled(True)
    agents.set_default_openai_api("chat_completions")
    agent = agents.Agent(name="Greeter", model="fake")

    def ask() -> str:
        return str(agents.Runner.run_sync(agent, "Hi").final_output)

    assert answers(ask) == [ANSWER] * REQUESTS
    stop()


def test_langchain_openai(url: str) -> None:
    """A chat model with the HTTP client that its library keeps for the process."""
    models: Any = pytest.importorskip("langchain_openai")

    def ask() -> str:
        return str(run(models.ChatOpenAI(model="fake").ainvoke("Hi")).content)

    assert answers(ask) == [ANSWER] * REQUESTS
    stop()


def test_openai(url: str) -> None:
    """`AsyncOpenAI` at module level."""
    openai: Any = pytest.importorskip("openai")
    client = openai.AsyncOpenAI()

    async def complete() -> str:
        completion = await client.chat.completions.create(
            model="fake", messages=[{"role": "user", "content": "Hi"}]
        )
        return str(completion.choices[0].message.content)

    assert answers(lambda: run(complete())) == [ANSWER] * REQUESTS
    stop(client.close)


def test_llama_index() -> None:
    """`asyncio_run()`, by which llama-index runs its coroutines in sync code."""
    utils: Any = pytest.importorskip("llama_index.core.async_utils")
    loops: set[object] = set()

    def view(environ: WSGIEnvironment) -> list[bytes]:
        loops.add(loop_from(environ).get_event_loop())
        loops.add(utils.asyncio_run(running_loop()))
        found = utils.run_async_tasks([running_loop(), running_loop()])
        loops.update(found)
        return [b"ok"]

    for _ in range(2):
        assert serve(app_of(view, adopt=True)) == b"ok"
    assert len(loops) == 1
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()
