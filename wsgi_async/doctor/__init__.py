"""`python -m wsgi_async doctor module:app`: what will go wrong with an app, and what to do.

It imports the app as gunicorn does, reads gunicorn's settings, and looks at what is there. It
sends no request and starts no server. Nothing here is imported by `import wsgi_async`.
"""
