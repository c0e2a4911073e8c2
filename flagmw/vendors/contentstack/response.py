"""Parser of answers of the Personalize Edge API.

A manifest names the active variant of each experience. `experiences` is in order of priority; `activeVariants` is an
older map of the same without an order. Short uids are opaque texts ("0", "9", "a", "c"). Null means that the experience
is paused or that no variant fits.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import orjson

from flagmw.codes import ErrorCode
from flagmw.exceptions import ProtocolError
from flagmw.types import Reply
from flagmw.vendors.common.http_status import refuses_request, status_fault
from flagmw.vendors.common.json import loads
from flagmw.vendors.contentstack.cookies import usable_uid

MAX_EXPERIENCES = 500
# A longer answer fits no cookie, however little of it is white space.
TEXT_BYTES = 64 * 1024
ALIAS_PREFIX = "cs_personalize"
PROJECT_NOT_FOUND = "personalize.MANIFEST.PROJECT_NOT_FOUND"

# No underscore and no comma: both join short uids to aliases and aliases to the variant parameter.
SHORT_UID = re.compile(r"[A-Za-z0-9.-]{1,64}")
_INDEX = re.compile(r"0|[1-9][0-9]{0,9}")


@dataclass(frozen=True, slots=True)
class Experience:
    """One experience of a manifest; *variant* is None when none is active."""

    short_uid: str
    variant: str | None

    @property
    def compact(self) -> str:
        """The active variant as the variant parameter has it, such as `b_0`."""
        return f"{self.short_uid}_{self.variant}"

    @property
    def alias(self) -> str:
        """The active variant as the CMS calls it, such as `cs_personalize_b_0`."""
        return f"{ALIAS_PREFIX}_{self.compact}"


@dataclass(frozen=True, slots=True)
class Manifest:
    """The decisions of one answer.

    Attributes:
        experiences: in order of priority, the highest first.
        rejected: why experiences were left out.
        text: the document as the official client writes it into its cookie; empty if it is too long for one.
    """

    experiences: tuple[Experience, ...]
    rejected: tuple[ErrorCode, ...]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The content of one answer to a request for the manifest.

    Attributes:
        manifest: the decisions; None if there is a fault, or for a robot.
        robot: the edge takes the visitor for a robot.
        request_refused: the fault lies in the request, not in the edge's health.
        uid: the visitor's uid by the edge, None if it names none.
        bad_uid: the edge names a uid that cannot be used.
    """

    manifest: Manifest | None = None
    fault: ErrorCode | None = None
    retry_after_s: float | None = None
    robot: bool = False
    request_refused: bool = False
    uid: str | None = None
    bad_uid: bool = False


def read_answer(reply: Reply) -> Answer:
    """Return the content of *reply*."""
    if reply.status == 403:
        return Answer(robot=True)
    code, retry_after_s = status_fault(reply)
    if project_not_found(reply):
        return Answer(fault=ErrorCode.PROJECT_NOT_FOUND, request_refused=True)
    if code is not None:
        return Answer(fault=code, retry_after_s=retry_after_s, request_refused=refuses_request(reply))
    try:
        manifest = _manifest(reply.body)
    except ProtocolError as error:
        return Answer(fault=error.code)
    header = reply.headers.get("x-cs-personalize-user-uid", "").strip()
    uid = usable_uid(header)
    return Answer(manifest=manifest, uid=uid, bad_uid=uid is None and header not in ("", "null", "undefined"))


def project_not_found(reply: Reply) -> bool:
    """Say whether the edge knows no such project."""
    if reply.status != 404:
        return False
    try:
        document = loads(reply.body)
    except ProtocolError:
        return False
    return isinstance(document, dict) and document.get("error") == PROJECT_NOT_FOUND


def _manifest(body: bytes) -> Manifest:
    """Return the manifest in *body*.

    Raises:
        ProtocolError: `EMPTY` for no body and for null, `NOT_JSON`, `SHAPE` for other documents.
    """
    document = loads(body)
    if document is None:
        raise ProtocolError(ErrorCode.EMPTY)
    pairs = _pairs(document)
    experiences: dict[str, Experience] = {}
    rejected: list[ErrorCode] = []
    if len(pairs) > MAX_EXPERIENCES:
        rejected.append(ErrorCode.TOO_MANY)
    for short_uid, variant in pairs[:MAX_EXPERIENCES]:
        try:
            experience = _experience(short_uid, variant)
        except ProtocolError as error:
            rejected.append(error.code)
            continue
        # The official client takes the first entry of a name, which has the higher priority.
        experiences.setdefault(experience.short_uid, experience)
    text = orjson.dumps(_in_client_order(document)).decode() if len(body) <= TEXT_BYTES else ""
    return Manifest(tuple(experiences.values()), tuple(rejected), text)


def _pairs(document: Any) -> list[tuple[Any, Any]]:
    """Return (short uid, active variant's short uid) as they stand in *document*, one more than the limit."""
    if not isinstance(document, dict):
        raise ProtocolError(ErrorCode.SHAPE)
    listed, older = document.get("experiences"), document.get("activeVariants")
    if isinstance(listed, list):
        return [
            (entry.get("shortUid"), entry.get("activeVariantShortUid")) if isinstance(entry, dict) else (None, None)
            for entry in listed[: MAX_EXPERIENCES + 1]
        ]
    if isinstance(older, dict):
        return list(islice(older.items(), MAX_EXPERIENCES + 1))
    raise ProtocolError(ErrorCode.SHAPE)


def _experience(short_uid: Any, variant: Any) -> Experience:
    uid = _short_uid(short_uid, ErrorCode.BAD_ALIAS)
    return Experience(uid, None if variant is None else _short_uid(variant, ErrorCode.BAD_VARIANT))


def _short_uid(value: Any, code: ErrorCode) -> str:
    if type(value) is int:  # the official client, too, takes a number for its digits
        value = str(value)
    # The text "null" comes from a null that was converted to text.
    if not isinstance(value, str) or not SHORT_UID.fullmatch(value) or value == "null":
        raise ProtocolError(code)
    return value


def _in_client_order(value: Any) -> Any:
    """Return *value* with the keys of objects in the order of JavaScript: whole numbers first, ascending."""
    if isinstance(value, list):
        return [_in_client_order(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {key: _in_client_order(value[key]) for key in _client_keys(value)}


def _client_keys(keys: Iterable[str]) -> Iterator[str]:
    indexes = [key for key in keys if _INDEX.fullmatch(key) and int(key) < 2**32 - 1]
    yield from sorted(indexes, key=int)
    yielded = set(indexes)
    yield from (key for key in keys if key not in yielded)
