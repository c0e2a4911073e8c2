"""Contentstack Personalize."""

from flagmw.vendors.contentstack.vendor import EVERYWHERE, Contentstack

__all__ = ["EVERYWHERE", "Contentstack"]
