"""Django's settings. What can be set by the environment is read as in the Flask example.

`make run-django` needs none of it: see `example_app/settings.py` for HOST, PORT, CHECK_INTERVAL and
the like; DEBUG=1 and SECRET_KEY are Django's.
"""

import os
import sys
from pathlib import Path

from django.core.management.utils import get_random_secret_key

BASE_DIR = Path(__file__).resolve().parent.parent
CHECKOUT = BASE_DIR.parent
if str(CHECKOUT) not in sys.path:
    sys.path.append(str(CHECKOUT))  # for the parts of example_app that know nothing of Flask

from example_app.settings import Settings, SettingsError, host_in_url  # noqa: E402

try:
    BOARD = Settings.from_environ(
        {"STATUS_BOARD_DB": str(CHECKOUT / "instance" / "django_board.sqlite3")} | os.environ
    )
    if not isinstance(BOARD.database, Path):
        raise SettingsError("STATUS_BOARD_DB must be the path of a file: this board uses SQLite")
    BOARD.database.parent.mkdir(parents=True, exist_ok=True)
    BOARD.database.touch(mode=0o600)  # it holds the admin's sessions
except (SettingsError, OSError) as error:
    sys.exit(f"The status board cannot start: {error}.")

DEBUG = os.environ.get("DEBUG") == "1"
# Without one in the environment, gunicorn.conf.py makes one for all worker processes and the
# command line has its own: after a restart the admin's users log in again, and no more is lost.
SECRET_KEY = os.environ.get("SECRET_KEY") or get_random_secret_key()
# On the loopback interface local names only; elsewhere those in TRUSTED_HOSTS, or any.
ALLOWED_HOSTS = [host_in_url(name) for name in BOARD.allowed_hosts] or ["*"]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "status",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "board.urls"
WSGI_APPLICATION = "board.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": BOARD.database,
        # A worker thread keeps its connection, as it keeps its loop: async views use the same one.
        "CONN_MAX_AGE": None,
        "OPTIONS": {
            "timeout": 5,
            "transaction_mode": "IMMEDIATE",  # what a transaction reads is so when it writes
            "init_command": "PRAGMA journal_mode = WAL",  # readers and a writer side by side
        },
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

USE_I18N = False
TIME_ZONE = "UTC"
MESSAGE_STORAGE = "django.contrib.messages.storage.cookie.CookieStorage"

STATIC_URL = "static/"
# The look is the Flask example's: one style sheet and one script for both.
STATICFILES_DIRS = [CHECKOUT / "example_app" / "static"]
WHITENOISE_USE_FINDERS = True  # served from where they are, without `collectstatic`

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {
        # The board's own failing endpoint fails at each check.
        "unexpected": {
            "()": "django.utils.log.CallbackFilter",
            "callback": lambda record: getattr(record, "status_code", 0) != 503,
        }
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "filters": ["unexpected"]}},
    "root": {"handlers": ["console"], "level": "WARNING"},
    # Django's own would be silent when DEBUG is off.
    "loggers": {"django": {"level": "WARNING"}},
}
