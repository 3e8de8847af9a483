"""A status board: a sync Flask app whose views call async code through `wsgi_async`.

Start with `app.py` (the factory) and `views.py`; `checks.py` is the async code that they call,
`checker.py` the background task, and `events.py` what keeps open pages up to date. `clients.py` and
`database.py` have what each loop opens once. `django_example` is the same board as a Django
project, and uses what is not about Flask here.
"""
