"""The settings of a small shop on Django, under WSGI and ASGI; see `wsgi.py` and `asgi.py`."""

from __future__ import annotations

import secrets
from pathlib import Path

from flagmw import Flagmw

SECRET_KEY = secrets.token_urlsafe(50)
DEBUG = False
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "testserver", "www.mysite.com"]
ROOT_URLCONF = "urls"
TIME_ZONE = "UTC"
INSTALLED_APPS = ["flagmw.django"]
MIDDLEWARE = ["flagmw.django.FlagsMiddleware"]
FLAGMW = Flagmw.from_mapping(file=Path(__file__).parent.parent / "shop.toml")
