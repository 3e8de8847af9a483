# The example under gunicorn:
#   docker build -t wsgi-async-example . && docker run --rm -p 8000:8000 wsgi-async-example

FROM python:3.15-slim AS build
WORKDIR /src
RUN ["python", "-m", "venv", "/venv"]
COPY pyproject.toml README.md LICENSE ./
COPY wsgi_async ./wsgi_async
RUN ["/venv/bin/python", "-m", "pip", "install", "--no-cache-dir", ".[example]"]

FROM python:3.15-slim
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin app \
    && install --directory --owner=app --mode=0700 /data
COPY --from=build /venv /venv
WORKDIR /app
COPY example_app ./example_app
ENV PATH=/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOST=0.0.0.0 \
    PORT=8000 \
    STATUS_BOARD_DB=/data/status_board.sqlite3
VOLUME /data
# By number, so that an orchestrator can see that it is not root.
USER 10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ['PORT'] + '/healthz', timeout=4)"]
# Without a shell in between, so that SIGTERM reaches gunicorn. Its heartbeat files go to memory: on
# a container's disk a write can block a worker.
STOPSIGNAL SIGTERM
CMD ["python", "-m", "gunicorn", "--config", "example_app/gunicorn.conf.py", "--worker-tmp-dir", "/dev/shm", "example_app.app:app"]
