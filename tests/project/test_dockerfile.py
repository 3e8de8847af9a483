"""The Dockerfile against the tree; there may be no engine at hand to build it."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from tests.project.dockerfile import Ignored, Stage, parse

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.project


@pytest.fixture
def stages(checkout: Path) -> list[Stage]:
    return parse((checkout / "Dockerfile").read_text())


@pytest.fixture
def build(stages: list[Stage]) -> Stage:
    return stages[0]


@pytest.fixture
def final(stages: list[Stage]) -> Stage:
    return stages[-1]


@pytest.fixture
def ignored(checkout: Path) -> Ignored:
    return Ignored((checkout / ".dockerignore").read_text())


def test_is_multi_stage_and_slim(stages: list[Stage]) -> None:
    """The image holds what runs, not what builds, on a slim base of one supported Python."""
    assert len(stages) == 2
    assert {stage.base for stage in stages} == {"python:3.15-slim"}


def test_uses_known_instructions_only(stages: list[Stage]) -> None:
    """A misspelt instruction is found before an engine refuses it."""
    known = {"CMD", "COPY", "ENV", "EXPOSE", "HEALTHCHECK", "RUN", "STOPSIGNAL", "USER", "VOLUME"}
    used = {instruction.keyword for stage in stages for instruction in stage.instructions}
    assert used <= known | {"WORKDIR"}


def test_copies_what_exists_and_is_sent_to_the_builder(
    checkout: Path, stages: list[Stage], ignored: Ignored
) -> None:
    """Every COPY finds its sources, since they are in the tree and .dockerignore lets them pass."""
    copied = [
        source
        for stage in stages
        for copy in stage.all("COPY")
        if "from" not in copy.flags
        for source in copy.words[:-1]
    ]
    assert copied
    assert {source: bool(ignored.kept(checkout, source)) for source in copied} == dict.fromkeys(
        copied, True
    )


def test_copies_everything_that_the_build_and_the_example_need(
    checkout: Path, build: Stage, final: Stage, ignored: Ignored
) -> None:
    """No tracked file of the package or the example is missing in the image."""
    tracked = subprocess.run(
        ["git", "ls-files", "wsgi_async", "example_app"],
        cwd=checkout,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split()
    if not tracked:
        pytest.skip("not a git checkout")
    sent = {
        name
        for stage in (build, final)
        for copy in stage.all("COPY")
        if "from" not in copy.flags
        for source in copy.words[:-1]
        for name in ignored.kept(checkout, source)
    }
    assert set(tracked) <= sent


def test_sends_no_secrets_and_no_leftovers(ignored: Ignored) -> None:
    """Environments, databases, caches and git's own files stay out of the build context."""
    for path in (
        ".git/config",
        ".venv/bin/python",
        "example_app/__pycache__/app.cpython-315.pyc",
        "example_app/board.db",
        "instance/status_board.sqlite3",
        "tests/conftest.py",
    ):
        assert path in ignored, path


def test_copies_from_a_stage_that_exists(stages: list[Stage], build: Stage, final: Stage) -> None:
    """What the final stage takes from the first is made there."""
    copies = [copy for copy in final.all("COPY") if "from" in copy.flags]
    assert [copy.flags["from"] for copy in copies] == [build.name]
    (source, target) = copies[0].words
    assert source == target, "a virtual environment cannot be moved"
    assert ["python", "-m", "venv", source] in [run.words for run in build.all("RUN")]


def test_installs_an_extra_that_exists(checkout: Path, build: Stage) -> None:
    """The image gets the example's dependencies, under the name they have in pyproject.toml."""
    project = tomllib.loads((checkout / "pyproject.toml").read_text())["project"]
    install = build.all("RUN")[-1].words
    extra = re.fullmatch(r"\.\[(\w+)\]", install[-1])
    assert extra
    assert extra[1] in project["optional-dependencies"]
    assert "README.md" in build.all("COPY")[0].words  # the long description is made of it
    assert set(project["license-files"]) <= set(build.all("COPY")[0].words)


def test_builds_with_the_first_stage_alone(checkout: Path, build: Stage, tmp_path: Path) -> None:
    """The files that the first stage copies are enough to build the wheel."""
    for copy in build.all("COPY"):
        *sources, target = copy.words
        for source in sources:
            if (checkout / source).is_dir():
                shutil.copytree(checkout / source, tmp_path / target)
            else:
                shutil.copy(checkout / source, tmp_path / target)
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", tmp_path],
        check=True,
        capture_output=True,
    )
    assert list((tmp_path / "dist").glob("*.whl"))


def test_does_not_run_as_root(final: Stage) -> None:
    """The server has no rights in its container that it does not need."""
    user = final.only("USER").words[0]
    assert re.fullmatch(r"[1-9][0-9]+", user)
    assert f"--uid {user}" in final.all("RUN")[0].rest
    keywords = [instruction.keyword for instruction in final.instructions]
    assert keywords.index("USER") > max(
        position for position, keyword in enumerate(keywords) if keyword in {"RUN", "COPY"}
    )


def test_database_is_on_a_volume_that_the_user_can_write(final: Stage) -> None:
    """History is kept outside the image's layers, in a folder that belongs to the server's user."""
    from example_app.settings import Settings

    folder = final.only("VOLUME").words[0]
    settings = Settings.from_environ(final.environment)
    assert str(settings.database).rpartition("/")[0] == folder
    assert re.search(
        rf"install --directory --owner=app \S+ {folder}(\s|$)", final.all("RUN")[0].rest
    )


def test_listens_on_the_exposed_port_on_all_interfaces(final: Stage) -> None:
    """`docker run -p 8000:8000` reaches the board."""
    from example_app.settings import Settings

    settings = Settings.from_environ(final.environment)
    assert settings.host == "0.0.0.0"
    assert [str(settings.port)] == final.only("EXPOSE").words


def test_signals_reach_gunicorn(final: Stage) -> None:
    """`docker stop` ends gunicorn gracefully: no shell in between swallows SIGTERM."""
    command = final.only("CMD")
    assert command.is_exec_form
    assert command.words[:3] == ["python", "-m", "gunicorn"]
    assert final.only("STOPSIGNAL").words == ["SIGTERM"]
    assert not final.all("ENTRYPOINT")


def test_command_names_what_exists(checkout: Path, final: Stage) -> None:
    """The settings file and the application in CMD are there, and gunicorn accepts the lot."""
    words = final.only("CMD").words
    assert (checkout / words[words.index("--config") + 1]).is_file()
    module, _, name = words[-1].partition(":")
    assert find_spec(module)
    assert callable(getattr(import_module(module), name))


def test_gunicorn_accepts_the_command(checkout: Path, final: Stage, tmp_path: Path) -> None:
    """gunicorn's own check passes for the command as it is written, from a folder of its own."""
    shutil.copytree(checkout / "example_app", tmp_path / "example_app")
    environment = {**final.environment, "PATH": "", "STATUS_BOARD_DB": str(tmp_path / "board.db")}
    words = [sys.executable, *final.only("CMD").words[1:]]
    words.insert(3, "--print-config")
    shown = subprocess.run(
        words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True, timeout=50
    ).stdout
    found = dict(re.findall(r"^(\w+)\s+= (.*)$", shown, re.MULTILINE))
    assert ast.literal_eval(found["bind"]) == ["0.0.0.0:8000"]
    assert found["worker_class"] == "wsgi_async.integrations.gunicorn.LoopThreadWorker"
    assert (found["workers"], found["threads"]) == ("2", "16")


def test_health_check_asks_a_route_of_the_example(final: Stage) -> None:
    """The container is healthy when the board answers, and the address asked for is one it has."""
    check = json.loads(final.only("HEALTHCHECK").rest.partition("CMD ")[2])
    assert check[:2] == ["python", "-c"]
    compile(check[2], "health check", "exec")
    path = re.search(r"'(/[a-z]+)'", check[2])
    assert path
    assert f"os.environ['PORT'] + '{path[1]}'" in check[2]
    rules = {rule.rule for rule in import_module("example_app.app").app.url_map.iter_rules()}
    assert path[1] in rules
