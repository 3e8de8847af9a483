"""Server-Sent Events: messages that one page sends appear on all open pages.

Install and run it, in this folder::

    pip install '..[flask,gunicorn]'
    gunicorn --threads 16 sse:app

Then open http://127.0.0.1:8000/ in two windows. Each open page occupies a thread, so there are 16.
"""

import asyncio
from collections.abc import AsyncIterator

from flask import Flask, Response, request

from wsgi_async.integrations.flask import AsyncLoop, stream

PAGE = """<!doctype html><title>Chat</title><form><input name=text autofocus></form><ul></ul>
<script>
const [form, list] = [document.forms[0], document.querySelector("ul")];
form.onsubmit = () => { fetch("/say", {method: "POST", body: new FormData(form)});
                        form.reset(); return false; };
new EventSource("/events").onmessage = (event) => list.append(
    Object.assign(document.createElement("li"), {textContent: event.data}));
</script>"""

app = Flask(__name__)
AsyncLoop(app, per="process")  # one loop for all threads, so that one queue reaches all pages
pages: set[asyncio.Queue[str]] = set()


@app.get("/")
def index() -> str:
    return PAGE


@app.post("/say")
async def say() -> Response:
    for page in pages:
        page.put_nowait(" ".join(request.form["text"].split()))
    return Response(status=204)


@app.get("/events")
@stream(mimetype="text/event-stream")
async def events() -> AsyncIterator[str]:
    news: asyncio.Queue[str] = asyncio.Queue()
    pages.add(news)
    try:
        yield "retry: 1000\n\n"
        while True:
            try:
                async with asyncio.timeout(1):
                    message = await news.get()
            except TimeoutError:
                yield ": still here\n\n"  # the server notices here that a page was closed
            else:
                yield f"data: {message}\n\n"
    finally:
        pages.remove(news)
