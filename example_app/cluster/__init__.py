"""The status board as a cluster on one machine: `make run-cluster`.

nginx stands in front of two gunicorns, whose background checks a Celery worker does. The data is in
PostgreSQL, and the queue in Redis. Start with `__main__.py`.
"""
