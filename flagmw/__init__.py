"""Decisions of A/B-test and feature-flag vendors as `request.flags`, and delivery of what visitors did."""

from flagmw._current import current
from flagmw._stats import Stats
from flagmw.codes import ErrorCode, Reason
from flagmw.config import Config, Identity
from flagmw.exceptions import ConfigError, FlagmwError, OutboxError, ProtocolError, TransportError
from flagmw.flags import Flags
from flagmw.runtime import Flagmw
from flagmw.types import DecisionNote, EventNote, Factor, Variant, Visit
from flagmw.vendors.adobe import AdobeTarget
from flagmw.vendors.contentstack import Contentstack
from flagmw.vendors.monetate import Monetate
from flagmw.vendors.static import Static
from flagmw.vendors.webtrends import Webtrends

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
