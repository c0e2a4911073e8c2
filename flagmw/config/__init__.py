"""Options: `Config`, its checks and its sources."""

from flagmw.config.config import FILE_VARIABLE, VENDOR_TYPES, Config, Identity, build, from_mapping, matcher, nearest

__all__ = ["FILE_VARIABLE", "VENDOR_TYPES", "Config", "Identity", "build", "from_mapping", "matcher", "nearest"]
