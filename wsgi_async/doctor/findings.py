"""The results of the checks, and the app that they examine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import ModuleType

    from wsgi_async.core import AsyncioLoopManager
    from wsgi_async.middleware import AsyncLoopMiddleware
    from wsgi_async.wsgi.options import Options

__all__ = [
    "Finding",
    "Part",
    "Server",
    "Severity",
    "Subject",
    "derives_from",
    "exit_status",
    "is_a",
    "options_of",
]

Severity = Literal["error", "warning", "note"]

Part = Any
"""Something that an app consists of: a middleware, a framework's app, a function."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing to know about an app. Never changes.

    Args:
        code: A short name that stays the same in later versions.
        severity: An error fails, a warning fails at times, a note is only good to know.
        state: What is the case, in a sentence.
        remedy: What to do about it, in a sentence.
        page: The page of the documentation, with the section.
        where: A file, with a line if it is known.
    """

    code: str
    severity: Severity
    state: str
    remedy: str
    page: str
    where: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """gunicorn's settings that the checks need. Never changes.

    Args:
        kind: The kind of the worker class: `"sync"`, `"gthread"`, `"resident"` for ours, `"green"`,
            `"tornado"`, `"asgi"`, or `"unknown"`.
        worker_class: The worker class's name, as it was set.
        default_hook: Whether `post_worker_init` is gunicorn's own, which does nothing.
        app: The app that the settings name; empty if they name none.
    """

    kind: str
    worker_class: str
    workers: int = 1
    threads: int = 1
    timeout: float = 30
    graceful_timeout: float = 30
    preload: bool = False
    default_hook: bool = True
    app: str = ""

    @property
    def one_thread(self) -> bool:
        """Whether each process serves all requests in the same thread."""
        threaded = self.kind in ("gthread", "resident")
        return self.kind == "sync" or (threaded and self.threads == 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The subject of the checks: an imported app, and its server. Never changes.

    Args:
        name: The app's name, as it was given: `module:app`.
        module: The module that has the app.
        app: The app itself.
        parts: The app and everything inside it, the outermost first.
        middlewares: The parts that are our middleware.
        server: The settings of its server; None if they are not known.
        started_by_config: The managers that were started while the server's settings were read.
        started_by_app: The managers that were started while the app was imported.
    """

    name: str
    module: ModuleType
    app: Part
    parts: list[Part]
    middlewares: list[AsyncLoopMiddleware]
    server: Server | None = None
    started_by_config: Sequence[AsyncioLoopManager] = ()
    started_by_app: Sequence[AsyncioLoopManager] = ()

    @property
    def options(self) -> Options | None:
        """The options that count: those of the outermost middleware."""
        return options_of(self.middlewares[0]) if self.middlewares else None

    def find(self, name: str) -> Part | None:
        """The outermost part of a class; `name` as for `is_a()`."""
        return next(iter(self.find_all(name)), None)

    def find_all(self, name: str) -> list[Part]:
        """All parts of a class, the outermost first; `name` as for `is_a()`."""
        return [part for part in self.parts if is_a(part, name)]


def options_of(middleware: AsyncLoopMiddleware) -> Options:
    """The options that a middleware was made with."""
    return middleware._provider.options  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - our own


def is_a(thing: object, name: str) -> bool:
    """Whether an object's class is or derives from a named class, without importing that.

    Args:
        thing: Any object. Only its type is used, so a proxy counts as a proxy.
        name: The class with its module, or with a package that contains the module.
    """
    return derives_from(type(thing), name)


def derives_from(kind: type, name: str) -> bool:
    """As `is_a()`, for a class."""
    package, _, wanted = name.rpartition(".")
    return any(
        each.__name__ == wanted and f"{each.__module__}.".startswith(f"{package}.")
        for each in kind.__mro__
    )


def exit_status(findings: Iterable[Finding]) -> int:
    """0 if all findings are notes, otherwise 1."""
    return int(any(finding.severity != "note" for finding in findings))
