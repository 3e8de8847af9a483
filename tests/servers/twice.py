"""An application that starts two managers while it is loaded."""

from __future__ import annotations

from tests.servers import apps
from wsgi_async import get_or_create_loop_manager

for name in ("one", "two"):
    get_or_create_loop_manager(name).start()
app = apps.app
