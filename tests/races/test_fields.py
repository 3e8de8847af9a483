"""What the package says of its shared fields: of each, and that it is true."""

from __future__ import annotations

import ast
from collections import deque
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("greenlet", reason="the scheduler's threads are greenlets")

from tests.races.core import CLASSES
from tests.races.explorer import BadOrder, explore
from tests.races.fields import GUARDED, NEVER_CHANGES, rules_of
from tests.races.parts import ControlledMutex
from tests.races.scheduler import Scheduler
from tests.races.shared import Guard, share


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_each_shared_field_says_what_guards_it(kind: type) -> None:
    """Whoever changes a shared field finds beside it which lock to take, or why none is needed."""
    rules = rules_of(kind)
    assert [name for name, rule in rules.items() if rule is None] == []


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_each_lock_that_is_named_exists(kind: type) -> None:
    """The lock is a field of the class that the comment names, and stays the same one."""
    by_name = {each.__name__: each for each in CLASSES}
    for rule in rules_of(kind).values():
        if rule is not None and rule.kind == GUARDED:
            owner, _, lock = rule.lock.partition(".")
            found = rules_of(by_name[owner])[lock]
            assert found is not None
            assert found.kind == NEVER_CHANGES


class Toy:
    """An object with a field of each kind."""

    def __init__(self, lock: Any) -> None:
        # Never changes:
        self.lock = lock
        # Guarded by `Toy.lock`:
        self.guarded = 0
        self.queue: deque[int] = deque()
        # One thread, the first:
        self.own = 0
        self.free = 0  # No lock: it is a toy.
        self.unsaid()

    def unsaid(self) -> None:
        """Set in no `__init__`, so nothing is said of it."""


def write_under_lock(toy: Any) -> None:
    with toy.lock:
        toy.guarded += 1
        toy.queue.append(1)


def write_guarded(toy: Any) -> None:
    toy.guarded = 1


def change_container(toy: Any) -> None:
    toy.queue.append(1)


def touch_own(toy: Any) -> None:
    toy.own += 1


def replace_lock(toy: Any) -> None:
    toy.lock = None


def write_free(toy: Any) -> None:
    toy.free += 1


def write_unsaid(toy: Any) -> None:
    toy.new = 1


def play(*acts: Any) -> None:
    """Have two threads do these to one toy, in every order."""

    def one(prefix: Any) -> Scheduler:
        scheduler = Scheduler(prefix)
        toy = share(Toy, lambda name: Guard(scheduler, name, 1))(ControlledMutex(scheduler))
        for number, act in enumerate(acts):
            scheduler.spawn(f"thread {number}", lambda act=act: act(toy))  # type: ignore[misc]
        scheduler.run()
        scheduler.end()
        return scheduler

    explore(one, preemptions=1)


def test_who_keeps_to_the_comments_is_let_be() -> None:
    """Fields may be used as it is said of them."""
    play(write_under_lock, write_under_lock)
    play(touch_own, write_free)
    play(write_free, write_free)


@pytest.mark.parametrize(
    ("acts", "complaint"),
    [
        ((write_guarded,), r"Toy 1\.guarded is written without Toy\.lock"),
        ((change_container,), r"Toy 1\.queue is written without Toy\.lock"),
        ((touch_own, touch_own), r"Toy 1\.own is touched by a second thread"),
        ((replace_lock,), r"Toy 1\.lock is changed"),
        ((write_unsaid,), r"nothing is said of Toy\.new"),
    ],
)
def test_who_does_not_is_told_of(acts: Any, complaint: str) -> None:
    """A comment that is not true fails in some order, and so does a field without one."""
    with pytest.raises(BadOrder, match=complaint):
        play(*acts)


@pytest.mark.project
def test_no_class_with_a_guarded_field_is_left_out(checkout: Path) -> None:
    """Whoever writes such a comment has it held to."""
    guarded = set()
    for path in checkout.glob("wsgi_async/**/*.py"):
        text = path.read_text()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef):
                source = ast.get_source_segment(text, node) or ""
                guarded |= {node.name} if f"# {GUARDED} `" in source else set()
    assert guarded
    assert guarded <= {kind.__name__ for kind in CLASSES}
