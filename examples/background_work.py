"""Jobs that go on after the response, and whose result a later request asks for.

Install and run it, in this folder::

    pip install '..[flask,gunicorn]'
    gunicorn --threads 4 background_work:app

Then call `curl -X POST http://127.0.0.1:8000/jobs/report`, and open the address that it answers.
Jobs end with their process: work that must not be lost belongs in a task queue.
"""

import asyncio
import itertools

from flask import Flask, abort, url_for

from wsgi_async import SyncFuture
from wsgi_async.integrations.flask import AsyncLoop, current_loop

app = Flask(__name__)
AsyncLoop(app)
numbers = itertools.count(1)
jobs: dict[int, SyncFuture[str]] = {}


async def make(name: str) -> str:
    async with asyncio.timeout(60):  # the request's deadline does not apply to a job
        await asyncio.sleep(0.5)
    return f"{name} is ready"


@app.post("/jobs/<name>")
def start(name: str) -> tuple[str, int]:
    number = next(numbers)
    jobs[number] = current_loop.submit_task(make(name))
    return url_for("show", number=number, _external=True), 202


@app.get("/jobs/<int:number>")
def show(number: int) -> str:
    job = jobs.get(number) or abort(404)  # any thread may look at it
    return job.result() if job.done() else "not yet"
