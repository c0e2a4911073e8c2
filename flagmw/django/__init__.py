"""Django middleware, template tag and settings."""

from flagmw.django.middleware import FlagsMiddleware, FlagsRequest, flags_from, from_settings, register

__all__ = ["FlagsMiddleware", "FlagsRequest", "flags_from", "from_settings", "register"]
