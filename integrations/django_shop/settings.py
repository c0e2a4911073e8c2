"""The settings of a small shop on Django, under WSGI and ASGI; see `wsgi.py` and `asgi.py`."""

from __future__ import annotations

import secrets
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))  # for what the shops share

import common

SECRET_KEY = secrets.token_urlsafe(50)
DEBUG = False
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "testserver", "www.mysite.com"]
ROOT_URLCONF = "urls"
TIME_ZONE = "UTC"
INSTALLED_APPS = ["flagmw.django"]
MIDDLEWARE = ["flagmw.django.FlagsMiddleware"]
FLAGMW = common.flagmw()
