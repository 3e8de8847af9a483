"""Libraries beside the app that are too old, or have changed threads or asyncio."""

from __future__ import annotations

import asyncio
import re
import sys
import sysconfig
import tomllib
from importlib import metadata
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from tests.doctor.parts import WRAPPED, diagnose, severities, write
from wsgi_async.doctor import libraries
from wsgi_async.doctor.libraries import check_libraries

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("version", "old"),
    [("2.3.3", True), ("3", False), ("3.0.0", False), ("3.0.0rc1", False), ("10.0", False)],
)
def test_an_old_library_gets_a_warning(
    monkeypatch: pytest.MonkeyPatch, version: str, old: bool
) -> None:
    """A library that is older than the package's metadata say is named, with the command."""
    pytest.importorskip("flask")
    monkeypatch.setattr(metadata, "requires", lambda name: ["flask>=3.0; extra == 'flask'"])
    monkeypatch.setattr(metadata, "version", lambda name: version)
    found = [each for each in check_libraries() if each.code == "old-library"]
    assert [each.severity for each in found] == ["warning"] * old
    assert all('"flask>=3.0"' in each.remedy for each in found)


@pytest.mark.project
def test_the_oldest_versions_are_those_of_the_project(checkout: Path) -> None:
    """No library is missing because its line in pyproject.toml is written in another way."""
    project = tomllib.loads((checkout / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    lines = [line for name in ("gunicorn", "flask", "django", "uvloop") for line in extras[name]]
    wanted = dict(re.findall(r"([a-z]+)>=([\d.]+)", " ".join(lines)))
    assert libraries._oldest() == wanted
    assert "asgiref" in wanted


def test_a_library_that_is_not_imported_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """An old library that the app does not use is not reported."""
    monkeypatch.setattr(metadata, "requires", lambda name: ["unused>=3.0; extra == 'flask'"])
    assert "old-library" not in severities(check_libraries())


@pytest.mark.parametrize("unknown", ["requires", "version"])
def test_copies_that_were_not_installed_are_not_compared(
    monkeypatch: pytest.MonkeyPatch, unknown: str
) -> None:
    """The package and the libraries may be copies, of which nobody knows the version."""
    found = {"requires": lambda name: ["pytest>=999; extra == 'flask'"], "version": lambda _: "1"}

    def fail(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    for name, answer in found.items():
        monkeypatch.setattr(metadata, name, answer)
    assert "old-library" in severities(check_libraries())
    monkeypatch.setattr(metadata, unknown, fail)
    assert "old-library" not in severities(check_libraries())


def test_patched_threads_get_an_error(tmp_path: Path) -> None:
    """An app that gevent has patched is refused, and the report says why."""
    pytest.importorskip("gevent")
    write(tmp_path, served=f"from gevent import monkey\nmonkey.patch_all()\n{WRAPPED}")
    status, findings = diagnose(tmp_path, "served:app")
    assert status == 2
    assert "gevent has patched threading" in findings["not-imported"]["state"]
    assert findings["greenlets"]["severity"] == "error"
    assert "gthread" in findings["greenlets"]["remedy"]


def test_nest_asyncio_gets_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    """What nest_asyncio leaves in asyncio is seen; it does no harm to our loops."""
    assert "nest-asyncio" not in severities(check_libraries())
    monkeypatch.setattr(asyncio, "_nest_patched", True, raising=False)
    assert severities(check_libraries())["nest-asyncio"] == "note"


@pytest.mark.parametrize(
    ("built", "asked", "enabled", "told"),
    [
        ("1", None, True, True),
        ("1", None, False, False),
        ("1", 1, True, False),
        ("", None, True, False),
    ],
)
def test_a_gil_that_was_switched_on_gets_a_note(
    monkeypatch: pytest.MonkeyPatch, built: str, asked: int | None, enabled: bool, told: bool
) -> None:
    """On a free-threaded build, an extension that switches the GIL on is reported."""
    monkeypatch.setattr(sysconfig, "get_config_var", lambda name: built)
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: enabled, raising=False)
    monkeypatch.setattr(sys, "flags", SimpleNamespace(gil=asked))
    assert ("gil-enabled" in severities(check_libraries())) is told
