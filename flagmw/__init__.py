"""A/B-test and feature-flag variants on the request, and delivery of events."""

import importlib as _importlib
import typing as _typing

from flagmw.codes import ErrorCode, Reason
from flagmw.config.config import Config, Identity
from flagmw.exceptions import ConfigError, FlagmwError, OutboxError, ProtocolError, TransportError
from flagmw.flags.current import current
from flagmw.flags.flags import Flags
from flagmw.runtime import Flagmw, Stats
from flagmw.types import DecisionNote, EventNote, Factor, Inbound, Variant, Visit

if _typing.TYPE_CHECKING:
    from flagmw.vendors.adobe.vendor import AdobeTarget
    from flagmw.vendors.contentstack.vendor import Contentstack
    from flagmw.vendors.monetate.vendor import Monetate
    from flagmw.vendors.static import Static
    from flagmw.vendors.webtrends.vendor import Webtrends

__version__ = "0.1.0"

__all__ = [
    "AdobeTarget",
    "Config",
    "ConfigError",
    "Contentstack",
    "DecisionNote",
    "ErrorCode",
    "EventNote",
    "Factor",
    "Flagmw",
    "FlagmwError",
    "Flags",
    "Identity",
    "Inbound",
    "Monetate",
    "OutboxError",
    "ProtocolError",
    "Reason",
    "Static",
    "Stats",
    "TransportError",
    "Variant",
    "Visit",
    "Webtrends",
    "__version__",
    "current",
]

# Few sites have more than one vendor, so each is imported when it is first named.
_VENDORS = {
    "AdobeTarget": "adobe",
    "Contentstack": "contentstack",
    "Monetate": "monetate",
    "Static": "static",
    "Webtrends": "webtrends",
}


def __getattr__(name: str) -> object:
    if name not in _VENDORS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(_importlib.import_module(f"flagmw.vendors.{_VENDORS[name]}"), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
