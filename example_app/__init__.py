"""A status board: a sync Flask app whose views call async code through `wsgi_async`.

Start with `app.py` (the factory) and `views.py`; `checks.py` is the async code that they call,
`checker.py` the background task, of which `rounds.py` is the part that a queue can do, and
`events.py` what keeps open pages up to date. `clients.py` and `databases` have what each loop opens
once. `cluster` runs the board on two servers with a queue. `django_example` is the same board as a
Django project, and uses what is not about Flask here.
"""
