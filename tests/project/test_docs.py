"""The documentation says what is so: its blocks run, its commands and links exist."""

from __future__ import annotations

import configparser
import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import wsgi_async
from tests.core.support import without_slowness
from tests.project.pages import Block, blocks

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.project

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(ROOT.glob("docs/**/*.md"))
WITH_PYTHON = [
    page for page in PAGES if any(block.word == "python" for block in blocks(page.read_text()))
]
LIMIT = 60.0

COMMENTS = {
    "check",
    "continues",
    "output",
    "file",
    "figures",
    "named",
    "needs",
    "pytest",
    "not run",
}
NOT_RUN = 3
"""At most so many blocks may not run."""

WORDS = 1500
"""At most so many in a page, but for reference."""


def name_of(path: Path) -> str:
    return path.relative_to(ROOT / "docs").with_suffix("").as_posix()


def all_blocks() -> Iterator[tuple[Path, Block]]:
    for path in PAGES:
        for block in blocks(path.read_text()):
            yield path, block


def in_language(*names: str) -> list[tuple[Path, Block]]:
    return [(path, block) for path, block in all_blocks() if block.word in names]


def is_installed(module: str) -> bool:
    """Whether it is there; not imported, as what it does to a process would stay in this one."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # its package is missing
        return False


@pytest.mark.parametrize("page", WITH_PYTHON, ids=name_of)
def test_examples_run(page: Path, tmp_path: Path) -> None:
    """Each block of Python in a page works as pasted, without a warning."""
    for block in blocks(page.read_text()):
        if block.word == "needs":
            for module in block.argument.split(", "):
                if not is_installed(module):
                    pytest.skip(f"{module} is not installed")
    where = [str(Path(wsgi_async.__file__).parents[1]), str(ROOT), os.environ.get("PYTHONPATH")]
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-m", "tests.project.pages", str(page)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, where))},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert (done.returncode, without_slowness(done.stderr)) == (0, ""), done.stderr


def test_blocks_are_of_known_kinds() -> None:
    """No block escapes the tests because its language or its comment is misspelt."""
    known = {"python", "sh", "ini", "toml", "apache", "text"} | COMMENTS
    directives = re.compile(
        r"\{(figures|comparison|scenarios|upstream|include|literalinclude|toctree|eval-rst|note|warning|image)\}.*"
    )
    odd = [
        f"{name_of(path)}:{block.line} {block.word}"
        for path, block in all_blocks()
        if block.word not in known and not directives.fullmatch(block.word)
    ]
    assert odd == []


def test_few_blocks_are_not_run() -> None:
    """What is not run says why, and there is little of it."""
    found = [
        (name_of(path), block.argument) for path, block in all_blocks() if block.word == "not run"
    ]
    assert [name for name, why in found if not why] == []
    assert len(found) <= NOT_RUN


def test_shell_blocks_can_be_parsed() -> None:
    """A command that is pasted into a shell is at least one for the shell."""
    found = in_language("sh")
    assert found
    for path, block in found:
        done = subprocess.run(
            ["bash", "-n"], input=block.source, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, ""), f"{name_of(path)}:{block.line}"


def test_configuration_blocks_can_be_parsed() -> None:
    """A configuration that is pasted into its file is read."""
    for path, block in in_language("toml", "ini"):
        try:
            if block.word == "toml":
                tomllib.loads(block.source)
            else:
                configparser.ConfigParser(strict=False).read_string(block.source)
        except (tomllib.TOMLDecodeError, configparser.Error) as error:
            pytest.fail(f"{name_of(path)}:{block.line}: {error}")


def test_pages_are_short() -> None:
    """A page that explains something can be read in one sitting."""
    long = {name_of(path): len(without_comments(path).split()) for path in PAGES}
    assert {name: words for name, words in long.items() if words > WORDS} == {}


def without_comments(path: Path) -> str:
    return re.sub(r"^<!--.*?-->$", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)


def test_make_commands_exist() -> None:
    """Every make command in the pages is one that the Makefile has."""
    pages = "\n".join(path.read_text() for path in PAGES)
    named = set(re.findall(r"(?:`|^)make ([a-z-]+)", pages, re.MULTILINE))
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert "bench" in named
    assert named <= targets


def test_extras_exist() -> None:
    """The extras in the pages' install commands can be installed."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = set(table["optional-dependencies"])
    pages = "\n".join(path.read_text() for path in PAGES)
    found = re.findall(r"(?:'\.|wsgi_async)\[([\w,]+)\]", pages)
    assert found
    assert {extra for group in found for extra in group.split(",")} <= extras
