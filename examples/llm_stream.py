"""A chat completion, sent to the browser token by token as Server-Sent Events.

Install and run it, in this folder::

    pip install '..[flask,gunicorn]' openai
    gunicorn --threads 16 llm_stream:app

Then call `curl -N 'http://127.0.0.1:8000/chat?prompt=Hello+there'`. The answer comes from a fake
model in this file. For a real one, set OPENAI_BASE_URL and OPENAI_API_KEY.
"""

import json
import os
import threading
import time
from collections.abc import AsyncIterator, Iterator

from flask import Flask, Response, request
from openai import AsyncOpenAI
from werkzeug.serving import make_server

from wsgi_async import loop_resource
from wsgi_async.integrations.flask import AsyncLoop, stream

app, fake = Flask(__name__), Flask("fake")
AsyncLoop(app, timeout=120)


@loop_resource
async def openai() -> AsyncIterator[AsyncOpenAI]:
    url, key = os.environ.get("OPENAI_BASE_URL", FAKE), os.environ.get("OPENAI_API_KEY", "none")
    async with AsyncOpenAI(base_url=url, api_key=key, timeout=60) as client:
        yield client


@app.get("/chat")
@stream(mimetype="text/event-stream")
async def chat() -> AsyncIterator[str]:
    client = await openai()  # this thread's client, which keeps its connections
    completion = await client.chat.completions.create(
        model="gpt-5", messages=[{"role": "user", "content": request.args["prompt"]}], stream=True
    )
    async with completion:  # closes the connection if the browser disconnects
        async for chunk in completion:
            if chunk.choices and (text := chunk.choices[0].delta.content):
                yield f"data: {json.dumps(text)}\n\n"
    yield "event: done\ndata:\n\n"


@fake.post("/chat/completions")
def repeat() -> Response:
    def chunks(words: list[str]) -> Iterator[str]:
        for word in words:
            time.sleep(0.1)
            choice = {"index": 0, "finish_reason": None, "delta": {"content": f"{word} "}}
            yield f"data: {json.dumps({'id': '1', 'choices': [choice]})}\n\n"
        yield "data: [DONE]\n\n"

    return Response(chunks(request.get_json()["messages"][0]["content"].split()))


model = make_server("127.0.0.1", 0, fake, threaded=True)
FAKE = f"http://127.0.0.1:{model.server_port}"
threading.Thread(target=model.serve_forever, daemon=True).start()
