"""Check Python itself, and libraries that are installed or imported beside the app."""

from __future__ import annotations

import re
import sys
import sysconfig
from importlib import metadata
from typing import TYPE_CHECKING

from wsgi_async.wsgi.servers import refuse_greenlets

from .findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["check_libraries"]

_REQUIREMENT = re.compile(
    r"(?P<name>[\w.-]+)\s*>=(?P<least>[\d.]+)[^;]*;.*extra == .(?P<extra>\w+)"
)
"""A line of the package's metadata: `flask>=3.0; extra == 'flask'`."""

_EXTRAS = ("gunicorn", "flask", "django", "uvloop")
"""The extras for the libraries that the package itself works with."""


def check_libraries() -> Iterator[Finding]:
    """Find libraries that are too old or have patched threads or asyncio, and check the GIL."""
    yield from _too_old()
    yield from _greenlets()
    yield from _nest_asyncio()
    yield from _gil()


def _too_old() -> Iterator[Finding]:
    for name, least in sorted(_oldest().items()):
        installed = _installed(name) if name in sys.modules else None
        if installed is not None and _numbers(installed) < _numbers(least):
            yield Finding(
                code="old-library",
                severity="warning",
                state=f"{name} {installed} is older than {least}, the oldest version that "
                "wsgi_async works with.",
                remedy=f'Upgrade it: python -m pip install --upgrade "{name}>={least}".',
                page="docs/asgiref.md" if name == "asgiref" else f"docs/{_page(name)}",
            )


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None  # a copy of the library, without metadata


def _page(name: str) -> str:
    return {"flask": "flask.md", "django": "django.md"}.get(name, "servers.md")


def _oldest() -> dict[str, str]:
    """The oldest version of each library, from the package's own metadata."""
    try:
        requirements = metadata.requires("wsgi_async") or []
    except metadata.PackageNotFoundError:  # the package is a copy that was not installed
        return {}
    found = filter(None, map(_REQUIREMENT.match, requirements))
    return {each["name"]: each["least"] for each in found if each["extra"] in _EXTRAS}


def _numbers(version: str) -> tuple[int, ...]:
    """A version's numbers, without trailing zeros: "3.0" is 3."""
    release = re.match(r"\d+(\.\d+)*", version)
    numbers = [int(part) for part in release[0].split(".")] if release else []
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)


def _greenlets() -> Iterator[Finding]:
    try:
        refuse_greenlets()
    except RuntimeError as error:
        state, _, remedy = str(error).partition(". ")
        yield Finding(
            code="greenlets",
            severity="error",
            state=f"{state}.",
            remedy=remedy,
            page="docs/limits.md#servers",
        )


def _nest_asyncio() -> Iterator[Finding]:
    if hasattr(sys.modules.get("asyncio"), "_nest_patched"):
        yield Finding(
            code="nest-asyncio",
            severity="note",
            state="nest_asyncio has changed asyncio for the whole process. The loops of wsgi_async "
            "do not need it.",
            remedy="Remove nest_asyncio.apply(), unless other code needs it.",
            page="docs/migrating/nest_asyncio.md",
        )


def _asked_for_gil() -> int | None:
    """The value of PYTHON_GIL or `-X gil`; None if neither is given."""
    return getattr(sys.flags, "gil", None)


def _gil() -> Iterator[Finding]:
    """Find a free-threaded Python on which an extension module has turned on the GIL."""
    enabled = getattr(sys, "_is_gil_enabled", lambda: True)
    free_threaded = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
    if free_threaded and enabled() and _asked_for_gil() is None:
        yield Finding(
            code="gil-enabled",
            severity="note",
            state="This is a free-threaded Python, and an extension module of the app has switched "
            "the GIL on. A warning at its import names it.",
            remedy="Replace or upgrade that module, or set PYTHON_GIL=0 if you know that it is "
            "safe without the GIL.",
            page="docs/limits.md#tested-platforms",
        )
