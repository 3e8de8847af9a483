"""The settings; the tests choose by environment variables."""

import os

engine, host, name = os.environ.get("DATABASE", "sqlite::file::memory:").split(":", 2)

SECRET_KEY = "of no use"  # nothing is signed with it
DEBUG = bool(os.environ.get("DEBUG"))
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "tests.integrations.django.project.urls"
WSGI_APPLICATION = "tests.integrations.django.project.wsgi.application"
INSTALLED_APPS = [
    "django.contrib.staticfiles",
    "tests.integrations.django.project",
    *os.environ.get("APPS", "").split(),
]
STATIC_URL = "static/"
MIDDLEWARE = [
    "tests.integrations.django.project.middleware.Evidence",
    "django.middleware.gzip.GZipMiddleware",
    "django.middleware.http.ConditionalGetMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "tests.integrations.django.project.middleware.either",
    *os.environ.get("MIDDLEWARE", "").split(),
]
DATABASES = {
    "default": {
        "ENGINE": f"django.db.backends.{engine.replace('sqlite', 'sqlite3')}",
        "HOST": host,
        "NAME": name,
        "USER": "postgres",
        "ATOMIC_REQUESTS": bool(os.environ.get("ATOMIC_REQUESTS")),
        "CONN_MAX_AGE": int(os.environ.get("CONN_MAX_AGE", "0")),
    }
}
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
LANGUAGE_CODE = "en"
USE_TZ = True
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates"}]
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"stderr": {"class": "logging.StreamHandler"}},
    "loggers": {"django.request": {"handlers": ["stderr"], "level": "ERROR"}},
}
