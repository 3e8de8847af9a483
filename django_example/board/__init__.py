"""The Django project: settings, URLs and the WSGI application. The app is in `status`."""
