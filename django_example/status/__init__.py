"""The app: a status board whose views are async, under a sync WSGI server.

Start with `models.py` and `views.py`. `checker.py` is the background task, and `board/wsgi.py` the
one line that makes it all run on the worker threads' loops. The parts that know nothing of Flask
are the Flask example's: the HTTP client and the checks, the stream of events, the style sheet.
"""
