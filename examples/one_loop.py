"""One event loop for the process, for a client in a module-level variable.

Install and run it, in this folder::

    pip install '..[flask,gunicorn]' httpx2
    gunicorn --threads 8 one_loop:app

Then open http://127.0.0.1:8000/ and http://127.0.0.1:8000/sync. Without `per="process"` each thread
has its own loop, and some requests fail or hang because the threads share one client.
"""

import os

import httpx2
from flask import Flask

from wsgi_async.integrations.flask import AsyncLoop, current_loop

app = Flask(__name__)
AsyncLoop(app, per="process", timeout=30)
client = httpx2.AsyncClient(timeout=5)  # shared by all threads
PAGE = os.environ.get("PAGE", "https://example.org/")


@app.get("/")
async def index() -> str:
    return (await client.get(PAGE)).text


@app.get("/sync")
def sync_index() -> str:
    return current_loop.run(client.get(PAGE)).text  # blocks this thread meanwhile
