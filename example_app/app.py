"""The Flask app. The one line that is about `wsgi_async` is `AsyncLoop(app)`.

Serve it with `gunicorn --config example_app/gunicorn.conf.py`.
"""

import os
import threading

from flask import Flask, current_app, jsonify, render_template, request
from werkzeug.exceptions import HTTPException, ServiceUnavailable
from werkzeug.wrappers import Response

from example_app import guards
from example_app.chart import latency_chart
from example_app.database import DatabaseError, set_up
from example_app.rounds import routes
from example_app.settings import Settings
from example_app.views import views
from example_app.words import ago, in_ms, iso, status_line
from wsgi_async.integrations.flask import AsyncLoop


def create_app(settings: Settings | None = None) -> Flask:
    """Make the app, and its database if it is not there yet.

    No loop and no thread is started here, so a server may call this before it forks.

    Args:
        settings: the board's settings; from the environment if not given.

    Raises:
        SettingsError: a setting cannot be used.
    """
    settings = settings or Settings.from_environ(os.environ)
    app = Flask(__name__)
    AsyncLoop(app, routes=routes(settings))
    app.config.update(
        BOARD=settings,
        STREAMS=threading.Semaphore(settings.max_streams),
        SECRET_KEY=set_up(settings),
        SESSION_COOKIE_NAME="status_board",  # cookies do not keep ports apart
        SESSION_COOKIE_SAMESITE="Lax",
        MAX_CONTENT_LENGTH=64 * 1024,
    )
    app.jinja_env.globals.update(latency_chart=latency_chart)
    app.jinja_env.filters.update(ago=ago, in_ms=in_ms, iso=iso, status_line=status_line)
    guards.install(app, settings.allowed_hosts)
    app.register_blueprint(views)
    app.register_error_handler(HTTPException, _error_page)
    app.register_error_handler(DatabaseError, _busy)
    app.register_error_handler(TimeoutError, _busy)
    return app


def _error_page(error: HTTPException) -> Response | tuple[Response | str, int]:
    if error.response is not None or error.code is None or error.code < 400:
        return Response.force_type(error.get_response())
    if request.path.startswith("/api/"):
        return jsonify(error=error.name, description=error.description), error.code
    return render_template("error.html", error=error), error.code


def _busy(error: Exception) -> Response | tuple[Response | str, int]:
    current_app.logger.error("%s cannot be served", request.path, exc_info=error)
    return _error_page(ServiceUnavailable("The database is busy. Please try again in a moment."))


app = create_app()
