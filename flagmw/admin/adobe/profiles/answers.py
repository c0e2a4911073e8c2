"""Answers of the Profile API: XML, JSON or bare text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from flagmw.admin.errors import AnswerError
from flagmw.exceptions import ProtocolError
from flagmw.types import Reply
from flagmw.vendors.common.json import loads

ROW_STATES = ("success", "error", "pending")
_BARE = re.compile(r"\s*(true|false)\s*(.*?)\s*", re.DOTALL)
_VENDOR_HOST = re.compile(r"[a-z0-9-]+\.tt\.omtrdc\.net")


@dataclass(frozen=True, slots=True)
class Accepted:
    """The vendor has taken an update; it is applied within an hour as a rule, a day at most.

    Attributes:
        message: the vendor's words.
        status_url: of a bulk update, where its state is told.
    """

    success: bool
    message: str
    status_url: str | None = None


@dataclass(frozen=True, slots=True)
class BatchStatus:
    """How far the vendor is with one upload.

    Attributes:
        state: "complete", "incomplete" or "stuck".
        size: how many rows the vendor found.
        consumed, successful, not_found, failed: rows by what became of them; None where the vendor does not say.
        rows: what the vendor says of single rows, as it names it.
    """

    batch_id: str
    state: str
    size: int | None = None
    consumed: int | None = None
    successful: int | None = None
    not_found: int | None = None
    failed: int | None = None
    rows: tuple[Mapping[str, str], ...] = ()

    @property
    def done(self) -> bool:
        """Say whether the state will not change any more."""
        return self.state in ("complete", "stuck")


def check_library() -> None:
    """Make sure that answers can be read, before something is sent whose answer has to be read.

    Raises:
        ImportError: the library for XML is not installed.
    """
    try:
        import defusedxml  # noqa: F401
    except ImportError:
        raise ImportError("answers of the Profile API need defusedxml: pip install 'flagmw[admin]'") from None


def accepted(reply: Reply) -> Accepted:
    """Return what the answer to an update says.

    Raises:
        AnswerError: it says nothing that this client understands.
    """
    fields, _ = _fields(reply)
    success = fields.get("success", "").lower()
    if success not in ("true", "false"):
        raise AnswerError("the answer to the update does not say whether it was accepted")
    return Accepted(success == "true", fields.get("message", ""), fields.get("batchStatus") or None)


def batch_status(reply: Reply) -> BatchStatus:
    """Return the state of an upload.

    Raises:
        AnswerError: the answer has none.
    """
    fields, rows = _fields(reply)
    state = fields.get("status", "").lower()
    if not state:
        raise AnswerError("the answer names no state of the upload")
    return BatchStatus(
        batch_id=fields.get("batchId", ""),
        state=state,
        size=_number(fields.get("batchSize")),
        consumed=_number(fields.get("consumedCount")),
        successful=_number(fields.get("successfulUpdates")),
        not_found=_number(fields.get("profilesNotFound")),
        failed=_number(fields.get("failedUpdates")),
        rows=tuple(rows),
    )


def checked_status_url(url: str, root: str) -> str:
    """Return the address of an upload's state: on one of the vendor's hosts, with https, or on the configured one.

    Args:
        root: of the Profile API, as configured. When that is no host of the vendor's (a proxy, an emulator), it is
            asked in place of the vendor's hosts.

    Raises:
        AnswerError: it is on a host that is neither the vendor's nor the configured one.
    """
    parts, own = urlsplit(url), urlsplit(root)
    if (parts.scheme, parts.netloc) == (own.scheme, own.netloc):
        return url
    if parts.scheme in ("http", "https") and _VENDOR_HOST.fullmatch(parts.netloc):
        if _VENDOR_HOST.fullmatch(own.netloc):
            return parts._replace(scheme="https").geturl()
        return parts._replace(scheme=own.scheme, netloc=own.netloc, path=f"{own.path}{parts.path}").geturl()
    host = parts.hostname or "no host"
    raise AnswerError(f"the state of the upload is said to be at {host}, which is not the vendor's: it is not asked")


def _fields(reply: Reply) -> tuple[dict[str, str], list[dict[str, str]]]:
    body = reply.body.strip()
    if body.startswith(b"<"):
        return _xml(body)
    if body.startswith(b"{"):
        try:
            document = loads(body)
        except ProtocolError:
            raise AnswerError("the answer is neither XML nor JSON, or was cut") from None
        inner = document.get("response", document)
        return {name: _plain(value) for name, value in inner.items()} if isinstance(inner, dict) else {}, []
    # The documentation prints the answer with its tags lost.
    found = _BARE.fullmatch(body.decode("utf-8", "replace"))
    return ({"success": found[1], "message": found[2]} if found else {}), []


def _xml(body: bytes) -> tuple[dict[str, str], list[dict[str, str]]]:
    check_library()
    from defusedxml import ElementTree
    from defusedxml.common import DefusedXmlException

    try:
        root = ElementTree.fromstring(body, forbid_dtd=True)
    except DefusedXmlException:
        raise AnswerError("the answer defines entities, which no answer of the vendor does: it is not read") from None
    except ElementTree.ParseError:
        raise AnswerError("the answer is no XML, or was cut") from None
    if root.tag != "response":
        raise AnswerError("the answer is no answer of the Profile API; check profile_url and proxies")
    fields: dict[str, str] = {}
    rows: list[dict[str, str]] = []
    for element in root.iter():
        children = {child.tag: (child.text or "").strip() for child in element}
        if element is not root and any(text.lower() in ROW_STATES for text in children.values()):
            rows.append(children)
        elif element is not root and not children:
            fields.setdefault(element.tag, (element.text or "").strip())
    return fields, rows


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() else None
