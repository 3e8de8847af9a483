"""Worker threads on both runners: those of a plain pool, and those that a loop lives on."""

from __future__ import annotations

from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.core.conftest import runner
from wsgi_async import LoopThreadPoolExecutor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    MakePool = Callable[[int], Executor]

__all__ = ["make_pool", "pytest_generate_tests", "runner", "worker"]

POOLS: dict[str, MakePool] = {
    "keeper": ThreadPoolExecutor,
    "resident": partial(LoopThreadPoolExecutor, own_managers=False),
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test on both runners where it runs in a worker thread, or asks for such threads."""
    asked = {"runner", "make_pool", "worker"} & set(metafunc.definition.fixturenames)
    on_worker = "on_both_runners" in vars(metafunc.function)
    if on_worker or asked - {"runner"}:
        metafunc.parametrize("runner", POOLS, indirect=True)


@pytest.fixture
def make_pool(runner: str) -> MakePool:
    """Makes a pool of so many worker threads."""
    return POOLS[runner]


@pytest.fixture
def worker(make_pool: MakePool) -> Iterator[Executor]:
    """One worker thread."""
    with make_pool(1) as pool:
        yield pool
