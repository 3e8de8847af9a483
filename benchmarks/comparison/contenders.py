"""Who is compared: frameworks, servers, and ways to call async code."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec

from benchmarks.comparison.views import View

PLAIN = frozenset({"noop", "template", "psycopg"})
"""Views without async code: which loop there is makes no difference."""

ONLY_ASYNC = frozenset({"postgres"})
"""Views that cannot be had with sync clients: asyncpg has no sync side."""

NOT_BY_HAND = PLAIN | {"stream"}
"""Views that would be the same, or more than a few lines, with loops made by hand."""

NOT_BY_FLASK = frozenset({"template", "psycopg", "stream"})
"""Views that would be the same with Flask's own async views; it cannot stream async generators."""


@dataclass(frozen=True)
class Contender:
    """One app on one server; holds nothing.

    Args:
        key: its name in the results.
        label: its name for people.
        server: "gthread", "resident", "gevent", "granian" or "uvicorn".
        framework: names the module in `apps`.
        way: how the app calls async code; see the module.
        uvloop: whether its loops are uvloop's.
        needs: modules that must be installed.
        without: views that it does not have.
    """

    key: str
    label: str
    server: str
    framework: str
    way: str
    uvloop: bool = False
    needs: tuple[str, ...] = ()
    without: frozenset[str] = frozenset()

    def missing(self) -> str | None:
        """Return what is not installed here, or None where all is there."""
        absent = [name for name in self.needs if find_spec(name) is None]
        return f"{', '.join(absent)} is not installed" if absent else None


ASGI = ("uvicorn", "uvloop")

DJANGO = ("django",)


def _flask(key: str, label: str, server: str, way: str, *needs: str) -> Contender:
    """Return Flask with wsgi_async or with sync clients; a key may end with "_uvloop"."""
    if key.endswith("_uvloop"):
        label, needs = f"{label}, uvloop", (*needs, "uvloop")
        return Contender(key, label, server, "flask", way, True, needs, PLAIN)
    without = ONLY_ASYNC if way == "sync" else frozenset[str]()
    return Contender(key, label, server, "flask", way, False, needs, without)


def _uvicorn(key: str, label: str, framework: str) -> Contender:
    return Contender(key, label, "uvicorn", framework, "once", True, (framework, *ASGI))


CONTENDERS = (
    _flask("keeper", "Flask, a loop per thread", "gthread", "thread"),
    _flask("keeper_uvloop", "Flask, a loop per thread", "gthread", "thread"),
    _flask("resident", "Flask, `LoopThreadWorker`", "resident", "thread"),
    _flask("resident_uvloop", "Flask, `LoopThreadWorker`", "resident", "thread"),
    _flask("process", 'Flask, `per="process"`', "gthread", "process"),
    _flask("process_uvloop", 'Flask, `per="process"`', "gthread", "process"),
    _flask("granian_uvloop", 'Flask, `per="process"`, Granian', "granian", "process", "granian"),
    Contender(
        "limit", "Flask, loops made by hand", "gthread", "flask", "limit", without=NOT_BY_HAND
    ),
    Contender(
        "flask_async",
        "Flask's own async views",
        "gthread",
        "flask",
        "own",
        needs=("asgiref",),
        without=NOT_BY_FLASK,
    ),
    _flask("flask_sync", "Flask, sync clients, thread pool", "gthread", "sync", "requests"),
    _flask(
        "granian_sync", "Flask, sync clients, Granian", "granian", "sync", "granian", "requests"
    ),
    _flask("gevent", "Flask, sync clients, gevent", "gevent", "sync", "gevent", "requests"),
    _uvicorn("quart", "Quart on uvicorn", "quart"),
    _uvicorn("starlette", "Starlette on uvicorn", "starlette"),
    Contender("django_own", "Django's own WSGI", "gthread", "django", "own", needs=DJANGO),
    Contender(
        "django_keeper", "Django, a loop per thread", "gthread", "django", "thread", needs=DJANGO
    ),
    Contender(
        "django_resident",
        "Django, `LoopThreadWorker`",
        "resident",
        "django",
        "thread",
        needs=DJANGO,
    ),
    _uvicorn("django_asgi", "Django under ASGI on uvicorn", "django"),
)

BY_KEY = {each.key: each for each in CONTENDERS}

FREE_THREADED = ("resident", "keeper")
"""Those that are measured on a free-threaded interpreter too."""


def of(view: View, among: Iterable[Contender] = CONTENDERS) -> list[Contender]:
    """Return those that have a view and are installed here."""
    return [each for each in among if view.key not in each.without and not each.missing()]


def skipped() -> dict[str, str]:
    """Return those that are not installed here, with the reason."""
    return {each.key: reason for each in CONTENDERS if (reason := each.missing())}
