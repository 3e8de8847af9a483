"""The Flask application that waitress serves, with reuse or without."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import Any

from flask import Flask

from wsgi_async.integrations.flask import AsyncLoop

app = Flask(__name__)
AsyncLoop(app, reuse=bool(os.environ.get("REUSE")))


@app.get("/")
async def where() -> dict[str, Any]:
    """Which thread answers."""
    await asyncio.sleep(0)
    return {"thread": threading.get_ident()}
