"""Versions of the emulated Admin API, as requests name them."""

from __future__ import annotations

import re
from collections.abc import Mapping

WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_MEDIA_TYPE = re.compile(r"application/vnd\.adobe\.target\.v(\d+)\+json", re.IGNORECASE)


def version_of(method: str, headers: Mapping[str, str]) -> int:
    """Return the version that a request asks for: in Content-Type where it has a body, else in Accept; 1 for none."""
    text = headers.get("content-type" if method in WITH_BODY else "accept", "")
    found = _MEDIA_TYPE.search(text)
    return int(found[1]) if found else 1
