"""Adobe Target."""

from flagmw.vendors.adobe.vendor import ASSETS_URL, AdobeTarget

__all__ = ["ASSETS_URL", "AdobeTarget"]
