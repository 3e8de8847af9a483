"""The kinds of requests, how often each comes, and what it must be answered."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, NamedTuple

from tests.soak.work import RAISES


class Kind(NamedTuple):
    """One kind of request."""

    weight: int
    number: range
    value: Callable[[int, str], Any] = lambda number, token: number * (number - 1) // 2
    fault: bool = False
    """It makes something go wrong in the application."""


def _echoes(number: int, token: str) -> list[str]:
    return [f"{token}-{each}" for each in range(number)]


KINDS: dict[str, Kind] = {
    "run": Kind(30, range(1, 8)),
    "upstream": Kind(12, range(1, 4), _echoes),
    "database": Kind(8, range(1, 6)),
    "submit": Kind(12, range(1, 8)),
    "scope": Kind(10, range(1, 8)),
    "caller": Kind(8, range(1), lambda _, token: f"{token} {token}"),
    "time_out": Kind(6, range(12), lambda *_: "TimeoutError", fault=True),
    "deadline": Kind(6, range(12), lambda *_: "TimeoutError", fault=True),
    "cancel": Kind(8, range(2), lambda *_: True, fault=True),
    "fail": Kind(10, range(1), lambda *_: [True, True], fault=True),
    "escape": Kind(3, range(1), fault=True),
    "unretrieved": Kind(3, range(1, 5), fault=True),
    "thread": Kind(5, range(1, 8)),
    "pool": Kind(1, range(1, 8)),
    "manager": Kind(1, range(1, 8)),
    "stream": Kind(8, range(1, 20)),
}
"""By the name of its view."""

LEAVES = {"endless": 6, "slow": 4, "half": 1, "silent": 1}
"""How a client leaves, and how often: in a stream, before the answer, in its request, before it."""


def choose(rng: random.Random) -> str:
    """One kind of request, or one way to leave."""
    weights = {name: kind.weight for name, kind in KINDS.items()} | LEAVES
    return rng.choices(list(weights), list(weights.values()))[0]


def query(rng: random.Random, name: str, token: str) -> tuple[str, int]:
    """The path of a request, and its number."""
    number = rng.choice(KINDS[name].number)
    what = f"&what={rng.choice(list(RAISES))}" if name == "fail" else ""
    return f"/{name}?token={token}&number={number}{what}", number
