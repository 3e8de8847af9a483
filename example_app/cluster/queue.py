"""The Celery app whose workers do the board's checks; the web app and the workers import it.

Start a worker with `celery -A example_app.cluster.queue worker`. It reads the same environment as
the web app, of which it needs STATUS_BOARD_QUEUE alone.
"""

import os

from celery import Celery

from example_app import rounds
from example_app.settings import Settings
from wsgi_async.integrations.celery import AsyncLoop, CeleryRoute
from wsgi_async.routing import set_routes

_url = Settings.from_environ(os.environ).queue

celery = Celery("status_board", broker=_url, backend=_url)
celery.conf.update(
    broker_connection_retry_on_startup=True,
    result_expires=60,
    # One at a time: what waits behind a round can be done by another worker.
    worker_prefetch_multiplier=1,
)
AsyncLoop(celery)

ROUTES = {
    rounds.TASK_TYPE: CeleryRoute(
        celery,
        queue=rounds.TASK_TYPE,
        # If a worker is killed in a round, another one does it again.
        task_options={
            "acks_late": True,
            "reject_on_worker_lost": True,
            "resultrepr_maxsize": 60,  # in the log
        },
        expires=rounds.QUEUED_SECONDS,
    )
}
set_routes(ROUTES)
