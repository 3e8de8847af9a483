"""Flask: async views, async code in a sync view, and work after the response.

Install and run it, in this folder::

    pip install '..[flask,gunicorn]'
    gunicorn --threads 4 flask_app:app

Then open http://127.0.0.1:8000/ and http://127.0.0.1:8000/sync.
"""

import asyncio

from flask import Flask

from wsgi_async.integrations.flask import AsyncLoop, current_loop

app = Flask(__name__)
AsyncLoop(app, timeout=30)  # seconds that a request may wait for async code


async def ask(name: str) -> str:
    await asyncio.sleep(0.1)  # in a real app: httpx, asyncpg, redis, any async SDK
    return f"{name} answered"


async def write_log(line: str) -> None:
    await asyncio.sleep(0.1)
    print(line, flush=True)


@app.get("/")
async def index() -> list[str]:
    answers = await asyncio.gather(ask("one"), ask("two"))  # both at the same time
    current_loop.submit_task(write_log("logged after the response"))
    return list(answers)


@app.get("/sync")
def sync_index() -> list[str]:
    return [current_loop.run(ask("one"))]  # blocks this thread until the result is there
