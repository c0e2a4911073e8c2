"""Read answers of the OTS REST API: object or array, decisions, misses, errors, cookies."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any

import orjson

from flagmw.codes import ErrorCode, Reason
from flagmw.exceptions import ProtocolError
from flagmw.types import EMPTY, CookieChange, Factor, Variant
from flagmw.vendors.common.json import blank, loads_tolerant

MAX_ELEMENTS = 200
MAX_FACTORS = 200
MAX_COOKIES = 250  # more than any browser keeps of one site
VALUE_CHARS = 8 * 1024
MAX_AGE_MAX_S = 400 * 86400

# 1 to 128 printable ASCII without `, ; =`, no space at either end: what fits a path and a cookie name.
ALIAS = re.compile(r"[!-+\--:<>-~](?:[ -+\--:<>-~]{0,126}[!-+\--:<>-~])?")
_BAD_VALUE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_LAYOUT = str.maketrans("", "", "\t\n\r")
MESSAGE_CHARS = 512
_GUID = re.compile(r"guid:? ?[0-9]{1,12}-\$?(.{1,128}?)(?:,| can occur|$)")
_PAGE_LEVEL = "#wt-page-level-js"
_TOLD = ("r_experimentID", "r_runID", "r_testID", "guid", "trackingGuid", "systemUID", "r_type")
_IDS = ("guid", "tracking_guid", "system_uid", "type")
_SHARED_CHARS = 1024


@dataclass(frozen=True, slots=True)
class Element:
    """One element of an answer.

    Attributes:
        alias: the project it speaks of, where it says so in a form that can be one.
        code: the vendor's error code, None for a success.
        opcode: "process" for a decision, "conversion" for a track.
    """

    alias: str | None
    code: int | None
    opcode: str | None
    body: dict[str, Any]
    params: dict[str, Any]
    log: str | None


def elements(body: bytes) -> list[Element]:
    """Return the elements of an answer; none for an empty body, `null` or `[]`.

    One more than the limit shows that there were more.

    Raises:
        ProtocolError: `NOT_JSON`, or `SHAPE` where it is neither an object nor an array of objects.
    """
    try:
        document = loads_tolerant(body)
    except ProtocolError as error:
        if error.code is ErrorCode.EMPTY:
            return []
        raise
    if document is None:
        return []
    items = document if isinstance(document, list) else [document]
    found = [_element(item) for item in items[: MAX_ELEMENTS + 1] if isinstance(item, dict)]
    if items and not found:
        raise ProtocolError(ErrorCode.SHAPE)
    return found


def _element(item: dict[str, Any]) -> Element:
    body, params = _dict(item.get("body")), _dict(item.get("params"))
    message = body.get("message", item.get("message"))
    code, alias = None, _text(params.get("testAlias"))
    if message is not None:
        code, quoted = _error(message)
        alias = alias or quoted
    if alias is not None and not ALIAS.fullmatch(alias):
        alias = None
    log = item.get("log", body.get("log"))
    return Element(alias, code, _text(item.get("opcode")), body, params, log if isinstance(log, str) else None)


def _error(message: Any) -> tuple[int, str | None]:
    """Return the code and the alias that the text quotes in a guid, "{domainId}-{alias}"."""
    if not isinstance(message, dict):
        return 0, None
    raw = message.get("errorCode")
    code = raw if type(raw) is int else int(raw) if isinstance(raw, str) and re.fullmatch(r"\d{1,6}", raw) else 0
    text = message.get("errorMessage")
    quoted = _GUID.search(text) if isinstance(text, str) and len(text) <= MESSAGE_CHARS else None
    return code, quoted[1].strip() if quoted else None


def variant(element: Element, vendor: str) -> Variant | ErrorCode | None:
    """Return the element's variant, why it has to be left out, or None when it decides nothing.

    A decision has no message, opcode "process", an alias and at least one factor; `opstatus` proves nothing.
    """
    if element.code is not None or element.opcode != "process":
        return None
    if element.alias is None:
        return ErrorCode.BAD_ALIAS
    factors = _factors(element.body.get("factors"))
    if not factors:
        return ErrorCode.BAD_VARIANT
    key = _chosen(factors).value
    if not key or len(key) > VALUE_CHARS or blank(key) or not _sound(key):
        return ErrorCode.BAD_VARIANT
    told = tuple([_text(element.params.get(name)) for name in _TOLD])
    # Each visitor of a variation has the same variant, so one is enough; long content would fill that memory.
    short = len(factors) <= 4 and sum([len(factor.value) for factor in factors]) <= _SHARED_CHARS
    return (_shared if short else _variant)(vendor, element.alias, key, factors, told)


def _variant(vendor: str, alias: str, key: str, factors: tuple[Factor, ...], told: tuple[str | None, ...]) -> Variant:
    experiment, run, test, *others = told
    ids = {name: text for name, text in zip(_IDS, others, strict=True) if text}
    return Variant(
        alias=alias,
        key=key,
        vendor=vendor,
        # A target is matched anew on every call; everything else is a share of the traffic.
        reason=Reason.TARGETING_MATCH if ids.get("type", "").lower() == "target" else Reason.SPLIT,
        experiment_id=experiment,
        run_id=run,
        test_id=test,
        factors=factors,
        ids=ids or EMPTY,
    )


_shared = lru_cache(maxsize=1024)(_variant)


def _sound(key: str) -> bool:
    """Say whether *key* is free of broken Unicode and controls; JSON text may be laid out in lines."""
    if not _BAD_VALUE.search(key):
        return True
    if _BAD_VALUE.search(key.translate(_LAYOUT)):
        return False
    try:
        return isinstance(orjson.loads(key), dict | list)
    except orjson.JSONDecodeError:
        return False


def paused(element: Element) -> bool:
    """Say whether the test is paused; the vendor writes it as text, its browser events as a boolean."""
    said = element.params.get("r_paused")
    return said is not None and str(said).lower() == "true"


def _factors(raw: Any) -> tuple[Factor, ...]:
    found = []
    for factor in raw[:MAX_FACTORS] if isinstance(raw, list) else ():
        if isinstance(factor, dict) and isinstance(value := factor.get("value"), str):
            operation = factor.get("operation")
            found.append(Factor(_text(factor.get("name")) or "", value, operation if type(operation) is int else None))
    return tuple(found)


def _chosen(factors: tuple[Factor, ...]) -> Factor:
    """Pick the factor that is the flag: the page-level script container, else the first that is not empty."""
    if len(factors) > 1:
        for factor in factors:
            if _PAGE_LEVEL in factor.name and factor.value:
                return factor
    return next((factor for factor in factors if factor.value), factors[0])


def cookie_changes(
    element: Element, *, session_timeouts: bool, written: Callable[[str], str] | None = None
) -> list[CookieChange]:
    """Return the cookies that one element sets, in its order; names and values are checked later.

    Args:
        written: what becomes of a value on its way to the visitor.
    """
    if element.params.get("use1stPartyCookies") is False:
        return []
    domain = _text(element.params.get("cookieDomain"))
    changes = []
    for name, cookie in islice(_dict(element.body.get("cookies")).items(), MAX_COOKIES + 1):
        # Conversion cookies block repeats, which is unnecessary nowadays; the guide says to ignore them.
        if not isinstance(cookie, dict) or name.startswith("_wt.conversion-"):
            continue
        value = cookie.get("value")
        if not isinstance(value, str):
            continue
        value = value if written is None else written(value)
        changes.append(CookieChange(name, value, _lifetime(cookie, session_timeouts), domain))
    return changes


def _lifetime(cookie: dict[str, Any], session_timeouts: bool) -> int | None:
    """Return seconds. Timeouts are milliseconds; a session cookie lives as long as the browser by default."""
    timeout, kind = cookie.get("timeout"), cookie.get("type")
    if type(timeout) is not int and not (isinstance(timeout, float) and math.isfinite(timeout)):
        return None
    if timeout <= 0:
        return 0
    if kind == "persisted" or (kind == "session" and session_timeouts):
        return min(math.ceil(timeout / 1000), MAX_AGE_MAX_S)
    return None


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    if isinstance(value, str):
        return value or None
    return str(value) if type(value) is int else None
