"""The README says what is so: its examples run, its commands and links exist."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.core.support import without_slowness

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.project

WORDS = 700
FIRST_SCREEN = 50

# Appended to the examples, which are asked outside the main thread, as in a server.
VISIT = """
from concurrent.futures import ThreadPoolExecutor

def visit(*paths):
    client = app.test_client()
    return [client.get(path).text for path in paths]

with ThreadPoolExecutor(1, "visitor") as pool:
    answers = pool.submit(visit, *PATHS).result(20)
"""

# The first one is asked twice: both requests have the same loop, and what they leave behind comes
# to its end.
ASK_TWICE = (
    """
from queue import Queue
import asyncio

asked = ask
done = Queue()

async def ask(name):
    answer = await asked(name)
    done.put((answer, asyncio.get_running_loop()))
    return answer

PATHS = ["/", "/", "/sync"]
"""
    + VISIT.replace("answers =", "answers, seen =").replace(
        ".result(20)", ".result(20), [done.get(timeout=10) for _ in range(7)]"
    )
    + """
assert [text.split('"')[1::2] for text in answers[:2]] == [["one answered", "two answered"]] * 2
assert answers[2] == "one answered", answers
assert sorted(name for name, _ in seen).count("the audit log answered") == 2, seen
assert len({loop for _, loop in seen}) == 1, seen
"""
)

CLIENT = (
    """
PATHS = ["/client", "/client"]
"""
    + VISIT
    + """
assert answers[0] == answers[1] and "httpx2" in answers[0], answers
"""
)

STREAM = (
    """
PATHS = ["/ticks"]
"""
    + VISIT
    + """
assert answers == ["data: tick 0\\n\\ndata: tick 1\\n\\ndata: tick 2\\n\\n"], answers
"""
)

DJANGO = """
from django.conf import settings
settings.configure(ROOT_URLCONF="urls", ALLOWED_HOSTS=["*"])

import sys
import types
from django.http import HttpResponse
from django.urls import path

async def index(request):
    return HttpResponse("hello")

sys.modules["urls"] = types.SimpleNamespace(urlpatterns=[path("", index)])
"""
ASK_DJANGO = """
from werkzeug.test import Client
assert Client(application).get("/").text == "hello"
"""


@pytest.fixture
def readme(checkout: Path) -> str:
    return (checkout / "README.md").read_text()


@pytest.fixture
def examples(readme: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", readme, re.DOTALL)


def run(code: str, folder: Path) -> str:
    """Run a program with warnings as errors, away from the checkout; its output."""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", code],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, without_slowness(done.stderr)) == (0, "")
    return done.stdout


def test_can_be_read_in_three_minutes(readme: str) -> None:
    """The README is short."""
    assert len(readme.split()) <= WORDS


def test_first_screen_is_enough(readme: str) -> None:
    """Whoever reads one screen knows what it is, and has an example for Flask and for Django."""
    screen = "\n".join(readme.splitlines()[:FIRST_SCREEN])
    assert "each worker thread of your WSGI server" in screen
    assert "AsyncLoop(app, timeout=30)" in screen
    assert "get_wsgi_application(timeout=30)" in screen


def test_first_example_answers(examples: list[str], tmp_path: Path) -> None:
    """The Flask example works as pasted, and its thread keeps its loop between requests."""
    run(examples[0] + ASK_TWICE, tmp_path)


def test_django_example_answers(examples: list[str], tmp_path: Path) -> None:
    """The one import that Django needs serves an async view."""
    (example,) = (code for code in examples if "get_wsgi_application" in code)
    run(DJANGO + example + ASK_DJANGO, tmp_path)


def test_client_example_answers(examples: list[str], tmp_path: Path) -> None:
    """The example of a loop resource works as pasted below the first one."""
    (example,) = (code for code in examples if "@loop_resource" in code)
    run(examples[0] + example + CLIENT, tmp_path)


def test_streaming_example_streams(examples: list[str], tmp_path: Path) -> None:
    """The example of a stream works as pasted below the first one."""
    (example,) = (code for code in examples if "stream(ticks())" in code)
    run(examples[0] + example + STREAM, tmp_path)


def test_example_of_a_test_passes(
    readme: str, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test in one line passes as pasted, with an app."""
    (line,) = re.findall(r"`(def test_view\(.*?)`", readme)
    app = """
        from wsgi_async import loop_from

        async def greeting():
            return b"hello"

        def app(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [loop_from(environ).run(greeting())]

    """
    pytester.makepyfile(f"{app}\n        {line}")
    # By its module: an editable install may not know of the plugin yet.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    done = pytester.runpytest_subprocess("-p", "wsgi_async.testing", "-W", "error", timeout=30)
    done.assert_outcomes(passed=1)


def test_every_example_is_run(examples: list[str]) -> None:
    """An example that is added gets a test of its own."""
    assert len(examples) == 4


def test_make_commands_exist(readme: str, checkout: Path) -> None:
    """Every make command in the README and in CONTRIBUTING is one that the Makefile has."""
    pages = readme + (checkout / "CONTRIBUTING.md").read_text()
    named = set(re.findall(r"(?:`|^)make ([a-z-]+)", pages, re.MULTILINE))
    makefile = (checkout / "Makefile").read_text()
    assert {"run", "test"} <= named
    assert named <= set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))


def test_links_lead_somewhere(readme: str, checkout: Path) -> None:
    """No link or image of the README points at a file that is not there."""
    targets = re.findall(r"\]\(([^)#:]+)\)|src=\"([^\":]+)\"", readme)
    paths = [first or second for first, second in targets]
    assert paths
    assert [path for path in paths if not (checkout / path).exists()] == []


def test_extras_exist(readme: str, checkout: Path) -> None:
    """The extras in the README's install command are the ones that can be installed."""
    (named,) = re.findall(r"pip install '\.\[([\w,]+)\]'", readme)
    pyproject = (checkout / "pyproject.toml").read_text()
    assert [extra for extra in named.split(",") if f"\n{extra} = [" not in pyproject] == []
    assert os.sep not in named
