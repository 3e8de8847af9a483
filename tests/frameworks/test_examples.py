"""The documentation's examples, one for each framework, driven as a client would."""

from __future__ import annotations

import importlib
import threading
from typing import TYPE_CHECKING, Any

import pytest
from webtest import TestApp

from tests.servers.process import wait_until

if TYPE_CHECKING:
    from types import ModuleType


@pytest.fixture
def example(request: pytest.FixtureRequest) -> ModuleType:
    """The module of this test's framework."""
    pytest.importorskip(request.param, reason=f"{request.param} is not installed")
    return importlib.import_module(f"examples.frameworks.{request.param}_app")


def framework(name: str) -> Any:
    return pytest.mark.parametrize("example", [name], indirect=True)


def in_new_thread(example: ModuleType, path: str) -> dict[str, Any]:
    """What a request on another worker thread gets."""
    answers: list[dict[str, Any]] = []
    thread = threading.Thread(target=lambda: answers.append(TestApp(example.app).get(path).json))
    thread.start()
    thread.join()
    return answers[0]


@framework("bottle")
def test_bottle_has_what_each_loop_opens_once(example: ModuleType) -> None:
    """A resource is the same in each request of a thread, and another one in another thread."""
    client = TestApp(example.app)
    assert [client.get("/ticket").json["number"] for _ in range(3)] == [1, 2, 3]
    assert in_new_thread(example, "/ticket") == {"number": 1}
    assert client.get("/ticket").json == {"number": 4}


@framework("falcon")
def test_falcon_looks_up_several_things_at_once(example: ModuleType) -> None:
    """A resource class finds the loop and the scope in `req.env`."""
    answer = TestApp(example.app).get("/search?name=one&name=two")
    assert answer.json == {"found": ["one found", "two found"], "extras": "extras found"}


@framework("pyramid")
def test_pyramid_has_the_loop_as_a_property_of_its_request(example: ModuleType) -> None:
    """A view runs a coroutine, and another one streams an async generator."""
    client = TestApp(example.app)
    assert client.get("/hello/Ann").text == "Hello, Ann!"
    assert client.get("/counting").text == "1\n2\n3\n"


@framework("webob")
def test_webob_answers_before_the_work_is_done(example: ModuleType) -> None:
    """Work goes on after the response, and a later request finds what it did."""
    client = TestApp(example.app)
    assert client.get("/basket").status_int == 202
    wait_until(lambda: client.get("/visits").json == ["/basket"], what="the visit is noted")
