"""Adobe Target."""

from flagmw.vendors.adobe.options import ASSETS_URL
from flagmw.vendors.adobe.vendor import AdobeTarget

__all__ = ["ASSETS_URL", "AdobeTarget"]
