"""Clients that all threads share are found in the app's modules, and nowhere else."""

from __future__ import annotations

import py_compile
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.doctor.parts import WRAPPED, write
from wsgi_async.doctor.command import examine
from wsgi_async.doctor.findings import Server

if TYPE_CHECKING:
    from wsgi_async.doctor.findings import Finding

CLIENTS = {
    "aiohttp": "aiohttp.ClientSession.__new__(aiohttp.ClientSession)",
    "asyncio": "asyncio.PriorityQueue()",
    "httpx": "httpx.AsyncClient()",
    "httpx2": "httpx2.AsyncClient()",
    "openai": "openai.AsyncOpenAI(api_key='none')",
    "redis.asyncio": "redis.asyncio.Redis()",
}


def shared(name: str, server: Server | None = None) -> list[Finding]:
    report = examine(name, server)
    assert report.imported
    return [found for found in report.findings if found.code == "shared-client"]


@pytest.mark.parametrize("library", CLIENTS)
# A session of aiohttp that was never opened has nothing to close, and complains of that.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_clients_are_known(folder: Path, library: str) -> None:
    """A client of a well-known library in a variable is found, with its file and line."""
    pytest.importorskip(library)
    write(folder, served=f"import {library}\nclient = {CLIENTS[library]}\n{WRAPPED}")
    (found,) = shared("served:app")
    assert (found.severity, found.where) == ("warning", "served.py:2")
    assert "served.client" in found.state


FAKE = """
class {name}:
    pass
{name}.__module__ = {module!r}
"""


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("anthropic", "AsyncAnthropic"),
        ("asyncpg.pool", "Pool"),
        ("motor.core", "AgnosticClient"),
        ("pymongo.asynchronous.mongo_client", "AsyncMongoClient"),
        ("psycopg_pool.pool_async", "AsyncConnectionPool"),
    ],
)
def test_libraries_are_not_imported_for_it(folder: Path, module: str, name: str) -> None:
    """A client is known by the name of its class, so its library need not be there."""
    source = f"{FAKE.format(name=name, module=module)}\nclient = {name}()\n"
    write(folder, served=source + WRAPPED)
    before = module in sys.modules
    (found,) = shared("served:app")
    assert f"({module}.{name})" in found.state
    assert (module in sys.modules) is before


def test_other_modules_of_the_app_are_searched(folder: Path) -> None:
    """A client is reported once, where it is made, however many modules import it."""
    (folder / "project" / "views").mkdir(parents=True)
    write(
        folder / "project",
        __init__="",
        wsgi=f"from project.clients import lock\nfrom project.views import pages\n{WRAPPED}",
        clients="import asyncio\n\nlock: asyncio.Lock = asyncio.Lock()\n",
    )
    write(folder / "project" / "views", pages="from project.clients import lock\n")
    assert [found.where for found in shared("project.wsgi:app")] == ["project/clients.py:3"]


def test_installed_modules_are_not_searched(folder: Path) -> None:
    """What a library keeps for itself is not reported: nobody can change it."""
    installed = folder / "env" / "lib" / "site-packages"
    installed.mkdir(parents=True)
    write(installed, library="import asyncio\nlock = asyncio.Lock()\n")
    path = f"import sys\nsys.path.append({str(installed)!r})\nimport library\n"
    write(folder, served=path + WRAPPED)
    assert shared("served:app") == []


def test_an_app_that_is_installed_is_searched_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is installed beside an installed app belongs to somebody else."""
    installed = folder / "env" / "lib" / "site-packages"
    installed.mkdir(parents=True)
    monkeypatch.syspath_prepend(str(installed))
    source = "import asyncio\nlock = asyncio.Lock()\n"
    write(installed, beside=source, served=f"import beside\n{source}{WRAPPED}")
    assert ["served.lock" in found.state for found in shared("served:app")] == [True]


def test_a_client_that_a_factory_imports_is_named_where_it_is_made(folder: Path) -> None:
    """The module that makes it counts, though the factory's module was imported before it."""
    factory = "def factory():\n    global lock\n    from clients import lock\n    return app\n"
    write(folder, served=WRAPPED + factory, clients="import asyncio\nlock = asyncio.Lock()\n")
    assert [found.where for found in shared("served:factory()")] == ["clients.py:2"]


def test_a_module_without_its_source_is_named_without_a_line(folder: Path) -> None:
    """An app that is delivered as bytecode is searched all the same."""
    write(folder, served=f"import asyncio\nlock = asyncio.Lock()\n{WRAPPED}")
    py_compile.compile("served.py", "served.pyc")
    (folder / "served.py").unlink()
    assert [found.where for found in shared("served:app")] == ["served.pyc"]


def test_values_are_searched_one_level_deep(folder: Path) -> None:
    """Clients in a dict, a list, a class and an instance are found, with the way to them."""
    source = """
import asyncio

by_name = {"one": asyncio.Lock()}
several = [asyncio.Lock()]

class Services:
    shared = asyncio.Lock()

    def __init__(self):
        self.own = asyncio.Lock()

services = Services()
"""
    write(folder, served=source + WRAPPED)
    found = {each.state.partition(" ")[0]: each.where for each in shared("served:app")}
    assert found == {
        "served.by_name['one']": "served.py:4",
        "served.several[0]": "served.py:5",
        "served.Services.shared": "served.py:8",
        "served.services.own": "served.py:11",
    }


def test_an_instance_of_another_modules_class_is_searched(folder: Path) -> None:
    """A service object is looked into wherever its class is, and named where it is made."""
    write(
        folder,
        services="import asyncio\nclass Services:\n    def __init__(self):\n"
        "        self.own = asyncio.Lock()\n",
        served=f"from services import Services\nservices = Services()\n{WRAPPED}",
    )
    assert [found.where for found in shared("served:app")] == ["served.py:2"]


def test_what_works_is_not_reported(folder: Path) -> None:
    """Sync clients, locks of threads, resources, classes and a thread's own variables."""
    source = """
import asyncio, threading
from asyncio import Lock
from wsgi_async import loop_resource

lock = threading.Lock()

@loop_resource
async def client():
    yield asyncio.Lock()

class Clients(threading.local):
    def __init__(self):
        self.lock = asyncio.Lock()

clients = Clients()

class Lazy:
    __dict__ = property(lambda self: None)

lazy = Lazy()
"""
    write(folder, served=source + WRAPPED)
    assert shared("served:app") == []


def test_one_loop_for_the_process_is_a_remedy(folder: Path) -> None:
    """Who has set per="process" has no problem with a shared client."""
    source = WRAPPED.replace("timeout=30", "timeout=30, per='process'")
    write(folder, served=f"import asyncio\nlock = asyncio.Lock()\n{source}")
    assert shared("served:app") == []


def test_one_thread_shares_with_nobody(folder: Path) -> None:
    """With the sync worker it is a note, because it works until threads are added."""
    write(folder, served=f"import asyncio\nlock = asyncio.Lock()\n{WRAPPED}")
    (found,) = shared("served:app", Server(kind="sync", worker_class="sync"))
    assert found.severity == "note"


def test_an_engine_without_a_pool_may_be_shared(folder: Path) -> None:
    """SQLAlchemy's advice for several loops, NullPool, is accepted."""
    pytest.importorskip("sqlalchemy.ext.asyncio")
    pytest.importorskip("aiosqlite")
    source = (
        "from sqlalchemy import NullPool\n"
        "from sqlalchemy.ext.asyncio import create_async_engine as make\n"
        "pooled = make('sqlite+aiosqlite:///a.db')\n"
        "alone = make('sqlite+aiosqlite:///b.db', poolclass=NullPool)\n"
    )
    write(folder, served=source + WRAPPED)
    assert ["served.pooled" in found.state for found in shared("served:app")] == [True]
