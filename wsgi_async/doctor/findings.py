"""What the checks find, and what they look at."""

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
        state: What is so, in a sentence.
        remedy: What to do about it, in a sentence.
        page: The page of the documentation, with the place in it.
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
    """gunicorn's settings, as far as the checks need them. Never changes.

    Args:
        kind: What the worker class is: `"sync"`, `"gthread"`, `"resident"` for ours, `"green"`,
            `"tornado"`, `"asgi"`, or `"unknown"`.
        worker_class: Its name, as it was set.
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
    """What is examined: an app that has been imported, and its server. Never changes.

    Args:
        name: The app's name, as it was given: `module:app`.
        module: The module that it was found in.
        app: The app itself.
        parts: The app and what is inside of it, the outermost first.
        middlewares: Those of them that are ours.
        server: The settings of its server; None if they are not known.
        started_by_config: The managers that run since the server's settings were read.
        started_by_app: The managers that run since the app was imported.
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
        """The outermost part of a class that is named as `is_a()` says."""
        return next(iter(self.find_all(name)), None)

    def find_all(self, name: str) -> list[Part]:
        """All such parts, the outermost first."""
        return [part for part in self.parts if is_a(part, name)]


def options_of(middleware: AsyncLoopMiddleware) -> Options:
    """The options that a middleware was made with."""
    return middleware._provider.options  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - our own


def is_a(thing: object, name: str) -> bool:
    """Whether something is of a class or of a subclass of it, without an import of that.

    Args:
        thing: Anything. It is not asked: a proxy is a proxy here.
        name: The class with its module, or with a package that the module is in.
    """
    return derives_from(type(thing), name)


def derives_from(kind: type, name: str) -> bool:
    """As `is_a()`, of a class."""
    package, _, wanted = name.rpartition(".")
    return any(
        each.__name__ == wanted and f"{each.__module__}.".startswith(f"{package}.")
        for each in kind.__mro__
    )


def exit_status(findings: Iterable[Finding]) -> int:
    """0 if there is nothing but notes, otherwise 1."""
    return int(any(finding.severity != "note" for finding in findings))
