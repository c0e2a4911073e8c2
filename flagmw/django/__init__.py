"""Django middleware, template tag and settings."""

from flagmw.django.middleware import FlagsMiddleware, flags_from, from_settings, register

__all__ = ["FlagsMiddleware", "flags_from", "from_settings", "register"]
