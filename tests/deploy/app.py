"""What the hosts serve."""

from __future__ import annotations

import asyncio
import os

from flask import Flask

from wsgi_async import run
from wsgi_async.integrations.flask import AsyncLoop

app = Flask(__name__)
AsyncLoop(app)


@app.get("/job/<int:number>")
def work(number: int) -> str:
    """Some async work; which host has done which."""
    run(asyncio.sleep(0.01))
    return f"{os.environ['HOST_NAME']} {number}"
