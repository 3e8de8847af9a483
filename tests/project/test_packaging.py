"""The wheel and the sdist, as a package index and pip see them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

import wsgi_async

if TYPE_CHECKING:
    from email.message import Message
    from pathlib import Path

pytestmark = pytest.mark.project


def test_wheel_holds_the_package_and_nothing_else(wheel: dict[str, bytes]) -> None:
    """Installing it adds one importable name: no `tests` or `example_app` on anybody's path."""
    roots = {name.partition("/")[0] for name in wheel}
    assert roots == {"wsgi_async", f"wsgi_async-{wsgi_async.__version__}.dist-info"}


def test_wheel_holds_every_module(checkout: Path, wheel: dict[str, bytes]) -> None:
    """No module of the checkout is lost on the way, nor what a page of ours needs."""
    modules = {
        path.relative_to(checkout).as_posix()
        for kind in ("py", "css", "js")
        for path in checkout.glob(f"wsgi_async/**/*.{kind}")
    }
    assert modules
    assert modules <= set(wheel)


def test_wheel_is_typed_and_licensed(wheel: dict[str, bytes], checkout: Path) -> None:
    """Type checkers use the package's own types, and the licence comes with it."""
    assert "wsgi_async/py.typed" in wheel
    (licence,) = (name for name in wheel if name.endswith("/licenses/LICENSE"))
    assert wheel[licence] == (checkout / "LICENSE").read_bytes()


def test_version_is_in_one_place(metadata: Message, project: dict[str, Any]) -> None:
    """What pip shows is `wsgi_async.__version__`, since it is taken from there."""
    assert metadata["Version"] == wsgi_async.__version__
    assert "version" in project["dynamic"]


def test_needs_nothing(metadata: Message) -> None:
    """Installing it without extras brings nothing else."""
    assert not [need for need in metadata.get_all("Requires-Dist", []) if "extra ==" not in need]
    assert metadata["Requires-Python"] == ">=3.11"


def test_has_the_promised_extras(metadata: Message) -> None:
    """Each extra that the documentation names can be asked for."""
    extras = {
        "gunicorn",
        "flask",
        "django",
        "uvloop",
        "testing",
        "example",
        "test",
        "test-free-threaded",
        "bench",
        "build",
        "docs",
    }
    assert extras <= set(metadata.get_all("Provides-Extra", []))


def test_asks_for_uvloop_only_where_it_exists(metadata: Message) -> None:
    """The test and uvloop extras can be installed on Windows, where there is no uvloop."""
    needs = [need for need in metadata.get_all("Requires-Dist", []) if need.startswith("uvloop")]
    assert needs
    assert [need for need in needs if "sys_platform != 'win32'" not in need] == []


def test_pytest_finds_the_plugin(wheel: dict[str, bytes]) -> None:
    """The wheel tells pytest of `wsgi_async.testing`, under the name that `-p no:` takes."""
    (content,) = (text for name, text in wheel.items() if name.endswith("/entry_points.txt"))
    assert content.decode().split() == ["[pytest11]", "wsgi_async", "=", "wsgi_async.testing"]


def test_has_known_classifiers(project: dict[str, Any], checkout: Path) -> None:
    """A package index accepts the classifiers, and they name the Pythons that are tested."""
    from trove_classifiers import classifiers

    assert set(project["classifiers"]) <= classifiers
    minors = {line.rpartition(" ")[2] for line in project["classifiers"] if ":: 3." in line}
    assert minors == {"3.11", "3.12", "3.13", "3.14", "3.15"}
    (tested,) = re.findall(
        r'^supported="(.*)"$', (checkout / ".ci/pythons").read_text(), re.MULTILINE
    )
    assert minors == {version.rstrip("t") for version in tested.split()}
    free_threading = [line for line in project["classifiers"] if ":: Free Threading" in line]
    assert bool(free_threading) == ("t" in tested)


@pytest.mark.parametrize(
    "name",
    [
        "tests/conftest.py",
        "tests/project/test_packaging.py",
        "examples/flask_app.py",
        "example_app/app.py",
        "example_app/gunicorn.conf.py",
        "example_app/static/board.css",
        "django_example/manage.py",
        "django_example/status/migrations/0001_initial.py",
        "django_example/status/templates/status/board.html",
        "benchmarks/__main__.py",
        "docs/index.md",
        "docs/conf.py",
        "Makefile",
        "Dockerfile",
        ".ci/run",
        ".ci/pythons",
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "LICENSE",
        "SECURITY.md",
        "pyproject.toml",
    ],
)
def test_sdist_is_enough_to_work_on_the_project(sdist: set[str], name: str) -> None:
    """Who has the sdist can run the tests, the example and the benchmarks from it."""
    assert name in sdist


def test_sdist_holds_no_leftovers(sdist: set[str]) -> None:
    """Caches, databases and environments of the machine it was built on stay there."""
    parts = {part for name in sdist for part in name.split("/")}
    assert parts.isdisjoint({"__pycache__", ".venv", ".git", "instance", ".pytest_cache"})
    assert [name for name in sdist if name.endswith((".pyc", ".db", ".sqlite3"))] == []


def test_public_names_are_importable() -> None:
    """`from wsgi_async import ...` gives each name that is listed, the version among the rest."""
    assert [name for name in wsgi_async.__all__ if not hasattr(wsgi_async, name)] == []
    assert len(set(wsgi_async.__all__)) == len(wsgi_async.__all__)
    promised = {
        "AsyncLoopMiddleware",
        "AsyncioLoopManager",
        "ManagerNotFound",
        "SyncFuture",
        "UnknownAsyncTaskError",
        "async_to_sync_future",
        "get_or_create_loop_manager",
        "get_parent_thread",
        "loop_from",
    }
    assert promised <= set(wsgi_async.__all__)


def test_changelog_tells_of_this_version(checkout: Path) -> None:
    """Who upgrades finds what changed."""
    assert f"\n## [{wsgi_async.__version__}]" in (checkout / "CHANGELOG.md").read_text()
