"""The same check as a single-file Django app: nothing is tied to Flask.

Serve it with `python -m example_app.django_app`, or with gunicorn as
`gunicorn --worker-class gthread --threads 4 example_app.django_app:application`. HOST and PORT
(here 8001 if not set) say where; CHECK_URLS, separated by spaces, is what it checks: its own
endpoints if not set.
"""

import asyncio
import os
import secrets
import sys
import time

from django.conf import settings
from django.core.handlers.wsgi import WSGIRequest
from django.core.wsgi import get_wsgi_application
from django.http import Http404, HttpResponse
from django.template import engines
from django.urls import path

from example_app.checks import check_all
from example_app.demo import DEMO_PATHS, demo
from example_app.models import Watched
from example_app.settings import Settings
from example_app.words import in_ms, status_line
from wsgi_async import AsyncLoopMiddleware, loop_from

BOARD = Settings.from_environ({"PORT": "8001"} | os.environ)
WATCHED = [
    Watched(number, url)
    for number, url in enumerate(
        os.environ.get("CHECK_URLS", "").split() or [BOARD.base_url + demo for demo in DEMO_PATHS]
    )
]

settings.configure(
    SECRET_KEY=secrets.token_urlsafe(32),  # nothing is signed with it
    ALLOWED_HOSTS=[*BOARD.allowed_hosts] or ["*"],
    ROOT_URLCONF="example_app.django_app",
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
)

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Status, with Django</title>
<style>
  body { font: 1rem/1.5 system-ui, sans-serif }
  body { max-width: 46rem; margin: 2rem auto; padding: 0 1rem }
  table { width: 100%; border-collapse: collapse }
  th, td { text-align: left; padding: .5rem .75rem .5rem 0; border-bottom: 1px solid #8886 }
  td { overflow-wrap: anywhere }
</style>
<h1>Status, with Django</h1>
<p>Checked {{ checks|length }} at once in {{ took }}; {{ reused }} over a connection kept open.</p>
<table>
  <tr><th scope="col">Address<th scope="col">State<th scope="col">Latency</tr>
  {% for check in checks %}
  <tr><td>{{ check.url }}<td>{{ check.state }}<td>{{ check.latency }}</tr>
  {% endfor %}
</table>
</html>
"""


def status(request: WSGIRequest) -> HttpResponse:
    """Check all addresses at the same time, on the loop of this worker thread."""
    started = time.perf_counter()
    checking = check_all(WATCHED, timeout=BOARD.check_timeout)
    results = loop_from(request.environ).run(checking)
    shown = [
        {
            "url": watched.url,
            "state": result.error or status_line(result.status or 0),
            "latency": "-" if result.latency_ms is None else in_ms(result.latency_ms),
        }
        for watched, result in zip(WATCHED, results, strict=True)
    ]
    facts = {
        "checks": shown,
        "took": in_ms((time.perf_counter() - started) * 1000),
        "reused": sum(result.reused for result in results),
    }
    return HttpResponse(engines["django"].from_string(PAGE).render(facts, request).encode())


def demo_endpoint(request: WSGIRequest, name: str) -> HttpResponse:
    """One of the service's own endpoints."""
    answer = demo(name)
    if answer is None:
        raise Http404
    loop_from(request.environ).run(asyncio.sleep(answer.seconds))
    return HttpResponse(answer.text.encode(), status=answer.status, content_type="text/plain")


urlpatterns = [path("", status), path("demo/<slug:name>", demo_endpoint)]

application = AsyncLoopMiddleware(get_wsgi_application())  # pyright: ignore[reportArgumentType] - untyped


def main() -> None:
    """Serve the app with gunicorn, in place of this process."""
    command = [sys.executable, "-m", "gunicorn", "--worker-class=gthread", "--threads=4"]
    command += ["--keep-alive=310", "--no-control-socket", f"--bind={BOARD.bind}"]
    os.execv(sys.executable, [*command, "example_app.django_app:application"])  # noqa: S606


if __name__ == "__main__":
    main()
