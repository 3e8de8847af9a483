"""Serve the board, after `manage.py migrate`: `gunicorn --config django_example/gunicorn.conf.py`.

HOST, PORT, WORKERS, THREADS and what else `example_app/settings.py` lists come from the
environment.
"""

import os
import sys
from pathlib import Path
from typing import Any

_PROJECT = str(Path(__file__).resolve().parent)
if _PROJECT not in sys.path:  # gunicorn reads this file before it looks at `chdir`
    sys.path.insert(0, _PROJECT)

from board.settings import BOARD, SECRET_KEY  # noqa: E402
from wsgi_async.integrations import gunicorn  # noqa: E402

os.environ["SECRET_KEY"] = SECRET_KEY  # the same for all workers, or logins would not hold

wsgi_app = "board.wsgi:application"
chdir = _PROJECT
bind = BOARD.bind
workers = BOARD.workers
# gunicorn's threaded worker, whose threads run the event loops themselves.
worker_class = "wsgi_async.integrations.gunicorn.LoopThreadWorker"
threads = BOARD.threads
# The board checks itself over connections that stay open: longer than its own client keeps them,
# so that it is the client that closes first.
keepalive = 310
graceful_timeout = 10
# A control socket has one path per user, which two services would fight over.
control_socket_disable = True


def post_worker_init(worker: Any) -> None:
    gunicorn.post_worker_init(worker)  # for `--worker-class gthread`: streams end in time
    # In the worker, after the fork: threads and loops do not survive one.
    from status import checker, demo  # noqa: PLC0415 - Django is set up by now

    demo.move_to(worker.sockets[0].getsockname()[1])
    checker.start(keep_going=lambda: worker.alive)


def worker_exit(server: Any, worker: Any) -> None:  # noqa: ARG001
    # It is stopped anyway. But with `--worker-class gthread` that is at the interpreter's exit,
    # where its last query gets no thread any more.
    from status import checker  # noqa: PLC0415 - as above

    checker.stop()
