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

FIRST_SCREEN = 50

# Appended to the first example: it is asked twice by one thread, outside the main thread as in a
# server. Both requests have the same loop, and what they leave behind comes to its end.
ASK_TWICE = """
from concurrent.futures import ThreadPoolExecutor
from queue import Queue
from threading import current_thread
from werkzeug.test import Client
from wsgi_async import get_or_create_loop_manager

asked = ask
done = Queue()

async def ask(name):
    answer = await asked(name)
    done.put((answer, current_thread().name))
    return answer

def visit():
    response = Client(app).get("/")
    manager = get_or_create_loop_manager(strictly_get=True)
    return response.json, manager, [done.get(timeout=10) for _ in range(3)]

with ThreadPoolExecutor(1, "visitor") as pool:
    visits = [pool.submit(visit).result() for _ in range(2)]
(answers, manager, steps), (later_answers, later_manager, _) = visits
assert answers == later_answers == ["one answered", "two answered"], answers
assert manager is later_manager
assert [(answer, name.startswith("visitor")) for answer, name in steps] == [
    ("one answered", True), ("two answered", True), ("the audit log answered", False)
], steps
"""

ANSWER = """
from threading import Thread
from werkzeug.test import Client

answers = []
thread = Thread(target=lambda: answers.append(Client(app).get("/").text))
thread.start()
thread.join()
assert answers == ["hello"], answers
"""

STREAM = """
from threading import Thread
from werkzeug.test import Client

def visit():
    with Client(app).get("/") as response:
        answers.append((response.headers["X-Tasks-Done"], response.text))

answers = []
thread = Thread(target=visit)
thread.start()
thread.join()
assert answers == [("3", "tick 0\\ntick 1\\ntick 2\\n")], answers
"""


RESOURCE = """
from threading import Thread
from werkzeug.test import Client

answers = []
thread = Thread(target=lambda: answers.append(Client(app).get("/").json))
thread.start()
thread.join()
((first, second),) = answers
assert first == second and "httpx2" in first, answers
"""

FLASK = """
from threading import Thread

def visit():
    client = app.test_client()
    answers.extend([client.get("/").text, client.get("/ticks").text.splitlines()[-1]])

answers = []
thread = Thread(target=visit)
thread.start()
thread.join()
assert answers == ["hello", "tick 2 for /ticks"], answers
"""

SEARCH = """
from threading import Thread
from werkzeug.test import Client

answers = []
thread = Thread(target=lambda: answers.append(Client(app).get("/search").json))
thread.start()
thread.join()
assert answers == [["page found", "extras found"]], answers
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


def test_first_screen_is_enough(readme: str) -> None:
    """Who reads one screen knows what it is, has an example and the two commands."""
    screen = "\n".join(readme.splitlines()[:FIRST_SCREEN])
    assert "every worker thread of a wsgi server" in screen.lower()
    assert "```python" in screen
    assert "make run" in screen
    assert "make test" in screen


def test_first_example_answers(examples: list[str], tmp_path: Path) -> None:
    """The Flask example works as pasted, and its thread keeps its loop between requests."""
    run(examples[0] + ASK_TWICE, tmp_path)


def test_plain_wsgi_example_answers(examples: list[str], tmp_path: Path) -> None:
    """The plain WSGI example works as pasted."""
    (example,) = (code for code in examples if "].run(greeting())" in code)
    run(example + ANSWER, tmp_path)


def test_flask_example_answers(examples: list[str], tmp_path: Path) -> None:
    """The example of the Flask extension works as pasted."""
    (example,) = (code for code in examples if "AsyncLoop(app)" in code)
    run(example + FLASK, tmp_path)


def test_streaming_example_streams(examples: list[str], tmp_path: Path) -> None:
    """The example of a stream and a task group works as pasted."""
    (example,) = (code for code in examples if "iterate(" in code)
    run(example + STREAM, tmp_path)


def test_resource_example_answers(examples: list[str], tmp_path: Path) -> None:
    """The example of a loop resource works as pasted."""
    (example,) = (code for code in examples if "@loop_resource" in code)
    run(example + RESOURCE, tmp_path)


def test_scope_example_answers(examples: list[str], tmp_path: Path) -> None:
    """The request scope's example works as pasted."""
    (example,) = (code for code in examples if "scope_from" in code)
    run(example + SEARCH, tmp_path)


def test_script_example_prints(examples: list[str], tmp_path: Path) -> None:
    """The example without a web server works as pasted."""
    (example,) = (code for code in examples if "manager.start()" in code)
    assert run(example, tmp_path) == "first second\n"


def test_example_of_a_test_passes(
    examples: list[str], pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The example of a test suite passes as pasted."""
    (example,) = (code for code in examples if "import pytest" in code)
    pytester.makepyfile(example)
    # By its module: an editable install may not know of the plugin yet.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    done = pytester.runpytest_subprocess("-p", "wsgi_async.testing", "-W", "error", timeout=30)
    done.assert_outcomes(passed=2)


def test_every_example_is_run(examples: list[str]) -> None:
    """An example that is added gets a test of its own."""
    assert len(examples) == 8


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
