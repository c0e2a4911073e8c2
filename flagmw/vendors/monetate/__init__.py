"""Monetate."""

from flagmw.vendors.monetate.vendor import ACTION_TYPES, BASE_URL, Monetate

__all__ = ["ACTION_TYPES", "BASE_URL", "Monetate"]
