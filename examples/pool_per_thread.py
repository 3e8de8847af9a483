"""A database pool for each worker thread, opened on first use and kept open.

Install and run it, in this folder::

    pip install '..[flask,gunicorn]' 'sqlalchemy[asyncio]' aiosqlite
    gunicorn --threads 4 pool_per_thread:app

Then open http://127.0.0.1:8000/ a few times: four threads have four pools, in all requests.
"""

import itertools
import threading
from collections.abc import AsyncIterator

from flask import Flask
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from wsgi_async import loop_resource
from wsgi_async.integrations.flask import AsyncLoop, current_loop

app = Flask(__name__)
AsyncLoop(app, timeout=30)
numbers = itertools.count(1)


@loop_resource
async def pool() -> AsyncIterator[tuple[int, AsyncEngine]]:
    """Size it for one thread: a thread serves one request at a time."""
    engine = create_async_engine("sqlite+aiosqlite:///pool.sqlite3", pool_size=2, max_overflow=0)
    yield next(numbers), engine
    await engine.dispose()


async def query() -> dict[str, int]:
    number, engine = await pool()  # in a sync view: pool.get()
    async with engine.connect() as connection:
        return {"pool": number, "answer": await connection.scalar(text("SELECT 6 * 7"))}


@app.get("/")
def index() -> dict[str, object]:
    return {"thread": threading.current_thread().name, **current_loop.run(query())}
