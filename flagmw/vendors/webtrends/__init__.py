"""Webtrends Optimize."""

from flagmw.vendors.webtrends.vendor import BAD_COOKIES_S, BASE_URL, Webtrends

__all__ = ["BAD_COOKIES_S", "BASE_URL", "Webtrends"]
