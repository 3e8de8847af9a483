"""A manager beside an import of asgiref that another thread is in the middle of."""

from __future__ import annotations

from tests.core.support import run_code

CODE = """
import sys, types
from wsgi_async import async_to_sync, get_or_create_loop_manager

for name in ("asgiref", "asgiref.local"):
    sys.modules[name] = types.ModuleType(name)
sys.modules["asgiref.sync"] = types.ModuleType("asgiref.sync")  # begun, with nothing in it yet

async def answer():
    return 42

manager = get_or_create_loop_manager()
manager.start()
print(manager.run(answer()), async_to_sync(answer)())
manager.stop()
print(manager.state)
"""


def test_a_half_imported_asgiref_is_none() -> None:
    """Calls and the end of a manager work while another thread imports asgiref."""
    assert run_code(CODE).splitlines() == ["42 42", "stopped"]
