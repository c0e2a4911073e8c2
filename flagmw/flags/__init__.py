"""Flags of one request."""

from flagmw.flags.flags import Flags, Pending, Recorder

__all__ = ["Flags", "Pending", "Recorder"]
