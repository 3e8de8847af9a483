"""Check for variables of the app's modules that hold objects of one event loop."""

from __future__ import annotations

import ast
import sys
import threading
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from .findings import Finding, is_a
from .loading import shown

if TYPE_CHECKING:
    from collections.abc import Container, Iterator
    from types import ModuleType

    from .findings import Subject

__all__ = ["check_clients"]

_CLIENTS = (
    "aiohttp.ClientSession",
    "aiokafka.AIOKafkaConsumer",
    "aiokafka.AIOKafkaProducer",
    "aiomysql.Pool",
    "anthropic.AsyncAnthropic",
    "anthropic.AsyncAPIClient",
    "asyncpg.Connection",
    "asyncpg.Pool",
    "elasticsearch.AsyncElasticsearch",
    "grpc.aio.Channel",
    "httpx.AsyncClient",
    "httpx2.AsyncClient",
    "motor.AgnosticClient",
    "nats.aio.Client",
    "openai.AsyncAPIClient",
    "openai.AsyncOpenAI",
    "psycopg.AsyncConnection",
    "psycopg_pool.AsyncConnectionPool",
    "pymongo.AsyncMongoClient",
    "redis.asyncio.ConnectionPool",
    "redis.asyncio.Redis",
    "redis.asyncio.RedisCluster",
    "sqlalchemy.ext.asyncio.AsyncEngine",
)
_ASYNCIO = (
    "asyncio.Barrier",
    "asyncio.Condition",
    "asyncio.Event",
    "asyncio.Lock",
    "asyncio.Queue",
    "asyncio.Semaphore",
    "_asyncio.Future",
    "_asyncio.Task",
)
_MOST = 100
"""The most items of one variable to look at."""


class _Found(NamedTuple):
    """A variable whose value may be such an object."""

    module: ModuleType
    variable: str
    value: Any


def check_clients(subject: Subject) -> Iterator[Finding]:
    """Find clients and asyncio objects that all threads share, though each has its own loop."""
    options = subject.options
    if options is not None and options.per == "process":
        return
    one_thread = subject.server is not None and subject.server.one_thread
    found: dict[int, _Found] = {}
    modules = _modules_of_app(subject.module)
    for module in modules.values():
        for each in _variables(module, modules):
            if _belongs_to_loop(each.value):
                known = found.setdefault(id(each.value), each)
                if _line(known) is None and _line(each) is not None:
                    found[id(each.value)] = each  # the first module has only imported it
    for each in found.values():
        yield _finding(each, one_thread=one_thread)


def _finding(found: _Found, *, one_thread: bool) -> Finding:
    kind = cast("Any", type(found.value))
    consequence = (
        "This works as long as each process has one thread."
        if one_thread
        else "With several threads, requests fail or hang."
    )
    line = _line(found)
    where = shown(str(found.module.__file__))
    return Finding(
        code="shared-client",
        severity="note" if one_thread else "warning",
        state=f"{found.module.__name__}.{found.variable} ({kind.__module__}.{kind.__qualname__}) "
        f"works on one event loop only, and each thread has its own. {consequence}",
        remedy='Make it a @loop_resource, or set per="process".',
        page="docs/global_clients.md",
        where=where if line is None else f"{where}:{line}",
    )


def _belongs_to_loop(value: object) -> bool:
    if is_a(value, "sqlalchemy.ext.asyncio.AsyncEngine"):
        return type(getattr(value, "pool", None)).__name__ != "NullPool"
    return any(is_a(value, name) for name in _CLIENTS + _ASYNCIO)


# -- the app's modules -----------------------------------------------------------------------------


def _modules_of_app(module: ModuleType) -> dict[str, ModuleType]:
    """The imported modules of the app's package, or of the folder around it."""
    top = module.__name__.partition(".")[0]
    root = _root(module)
    return {
        name: each
        for name, each in list(sys.modules.items())
        if name.partition(".")[0] not in _OTHERS
        and (file := _file(each)) is not None
        and (name.partition(".")[0] == top or _is_below(file, root))
    }


_OTHERS = ("wsgi_async", "__config__", "__main__")
"""Our own package, gunicorn's settings, and the program itself."""


def _file(module: ModuleType) -> str | None:
    """A module's file. Does not use getattr(), which would import a lazy module."""
    file = getattr(module, "__dict__", {}).get("__file__")
    return file if isinstance(file, str) else None


def _root(module: ModuleType) -> Path | None:
    """The folder with the app's module or outermost package; None if the app is installed."""
    file = _file(module)
    if file is None or _is_installed(file):
        return None
    is_package = hasattr(module, "__path__")
    return Path(file).resolve().parents[module.__name__.count(".") + is_package]


def _is_below(file: str, root: Path | None) -> bool:
    return (
        root is not None and not _is_installed(file) and Path(file).resolve().is_relative_to(root)
    )


def _is_installed(file: str) -> bool:
    parts = Path(file).parts
    return (
        "site-packages" in parts
        or "dist-packages" in parts
        or Path(file).is_relative_to(Path(ast.__file__).parent)
    )


# -- their variables -------------------------------------------------------------------------------


def _variables(module: ModuleType, modules: Container[str]) -> Iterator[_Found]:
    """A module's variables, and the values inside them, one level deep."""
    for name, value in list(vars(module).items()):
        if name.startswith("__"):
            continue
        yield _Found(module, name, value)
        for suffix, inner in _held(value, modules):
            yield _Found(module, f"{name}{suffix}", inner)


def _held(value: Any, modules: Container[str]) -> list[tuple[str, Any]]:
    """The values inside a container, one of the app's classes, or an instance of one."""
    if type(value) in (dict, list, tuple):
        items = value.items() if hasattr(value, "items") else enumerate(value)
        return [(f"[{key!r}]", inner) for key, inner in list(items)[:_MOST]]
    kind: type = value if isinstance(value, type) else type(value)
    # In a threading.local each thread, so each loop, has its own.
    if kind.__module__ not in modules or isinstance(value, threading.local):
        return []
    attributes = getattr(value, "__dict__", None)
    if not isinstance(attributes, Mapping):
        return []
    found = list(cast("Mapping[str, Any]", attributes).items())
    return [(f".{name}", inner) for name, inner in found[:_MOST]]


@cache
def _assigned(file: str) -> dict[str, int]:
    """The names that a file assigns to, each with its first line."""
    try:
        tree = ast.parse(Path(file).read_bytes())
    except (OSError, SyntaxError, ValueError):
        return {}
    lines: dict[str, int] = {}
    for node in ast.walk(tree):
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                name = getattr(target, "id", getattr(target, "attr", ""))  # mostly of self
                lines[name] = min(node.lineno, lines.get(name, node.lineno))
    return lines


def _line(found: _Found) -> int | None:
    """The line that assigns the attribute with the object, or else the variable."""
    variable, _, attribute = found.variable.partition("[")[0].partition(".")
    lines = _assigned(str(found.module.__file__))
    return lines.get(attribute, lines.get(variable))
