"""Django's settings for flagmw, and their system checks.

`flagmw.django` documents the check ids.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.middleware.cache import UpdateCacheMiddleware
from django.utils.module_loading import import_string

from flagmw.exceptions import ConfigError
from flagmw.runtime import Flagmw

_built: tuple[Any, Flagmw] | None = None


def from_settings() -> Flagmw:
    """Return what `settings.FLAGMW` describes, the same one for the whole process: for jobs, and for `health()`.

    Raises:
        ConfigError: an option is unknown or wrong.
        ImproperlyConfigured: the setting is missing, of a wrong type, or cannot be imported.
    """
    global _built
    setting = getattr(settings, "FLAGMW", None)
    if _built is None or _built[0] is not setting:
        try:
            found = import_string(setting) if isinstance(setting, str) else setting
        except ImportError as error:
            raise ImproperlyConfigured(f"settings.FLAGMW cannot be imported: {error}") from error
        if not isinstance(found, Mapping | Flagmw):
            was = "missing" if found is None else f"of type {type(found).__name__}"
            raise ImproperlyConfigured(f"settings.FLAGMW is {was}: it must be a dict of options or a Flagmw")
        _built = setting, found if isinstance(found, Flagmw) else Flagmw.from_mapping(found)
    return _built[1]


def examine(middleware: type) -> list[checks.CheckMessage]:
    """Return what Django's system checks have to say of the settings."""
    messages = misplaced(middleware)
    if not _places(middleware):
        return messages
    try:
        from_settings()
    except ConfigError as error:
        messages.append(checks.Error(f"settings.FLAGMW: {error}", id="flagmw.E002"))
    except ImproperlyConfigured as error:
        messages.append(checks.Error(str(error), id="flagmw.E001"))
    return messages


def misplaced(middleware: type) -> list[checks.CheckMessage]:
    """Say what is wrong with *middleware*'s place in MIDDLEWARE."""
    ours, messages = _places(middleware), list[checks.CheckMessage]()
    if ours and any(place > ours[0] for place in _places(UpdateCacheMiddleware)):
        text = "FlagsMiddleware stands above UpdateCacheMiddleware, which then sees no page as private."
        messages.append(checks.Warning(text, "Move FlagsMiddleware below it.", id="flagmw.W001"))
    if len(ours) > 1:
        text, hint = "FlagsMiddleware is listed more than once.", "Only the first does anything: keep that."
        messages.append(checks.Warning(text, hint, id="flagmw.W002"))
    if not ours and hasattr(settings, "FLAGMW"):
        text, hint = "FLAGMW is set, but MIDDLEWARE lacks FlagsMiddleware.", 'Add "flagmw.django.FlagsMiddleware".'
        messages.append(checks.Warning(text, hint, id="flagmw.W003"))
    return messages


def _places(kind: type) -> list[int]:
    """Return where in MIDDLEWARE *kind* or what derives from it is listed."""
    places = []
    for place, path in enumerate(settings.MIDDLEWARE):
        try:
            listed = import_string(path)
        except ImportError:
            continue
        if isinstance(listed, type) and issubclass(listed, kind):
            places.append(place)
    return places
