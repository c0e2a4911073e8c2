"""The closed vocabularies of reasons and error codes.

They are closed so that they can label counters and log lines: nothing that a visitor or a vendor writes
can add a member.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why the visitor has this variant, in OpenFeature's vocabulary (specification, types, "resolution reason")."""

    TARGETING_MATCH = "TARGETING_MATCH"
    SPLIT = "SPLIT"
    CACHED = "CACHED"
    STATIC = "STATIC"
    DEFAULT = "DEFAULT"
    DISABLED = "DISABLED"
    STALE = "STALE"
    ERROR = "ERROR"


class ErrorCode(StrEnum):
    """What stood in the way; also the reason of every drop, skip and rejection that is counted."""

    # A decision that did not come.
    DEADLINE = "DEADLINE"
    BREAKER_OPEN = "BREAKER_OPEN"
    SHED = "SHED"
    DNS = "DNS"
    CONNECT = "CONNECT"
    TLS = "TLS"
    RESET = "RESET"
    TRANSPORT = "TRANSPORT"
    TRUNCATED = "TRUNCATED"
    TOO_LARGE = "TOO_LARGE"
    ENCODING = "ENCODING"
    REDIRECT = "REDIRECT"
    HTTP_STATUS = "HTTP_STATUS"
    RATE_LIMITED = "RATE_LIMITED"
    UNAUTHORIZED = "UNAUTHORIZED"
    EMPTY = "EMPTY"
    NOT_JSON = "NOT_JSON"
    SHAPE = "SHAPE"
    PROTOCOL = "PROTOCOL"
    INTERNAL = "INTERNAL"
    NO_RULES = "NO_RULES"

    # A flag that has no decided variant, or a read that could not be answered as asked.
    FLAG_NOT_FOUND = "FLAG_NOT_FOUND"
    TYPE_MISMATCH = "TYPE_MISMATCH"
    NO_REQUEST = "NO_REQUEST"
    NEW_VISITORS = "NEW_VISITORS"
    TOUCHED_LATE = "TOUCHED_LATE"
    EXCLUDED = "EXCLUDED"
    NOT_LOADED = "NOT_LOADED"
    LOADED_ALREADY = "LOADED_ALREADY"
    NO_CONSENT = "NO_CONSENT"
    BOT = "BOT"
    PREFETCH = "PREFETCH"
    OVERRIDDEN = "OVERRIDDEN"

    # Tokens that were not accepted.
    BAD_TOKEN = "BAD_TOKEN"  # noqa: S105 - a name, no secret
    TOKEN_SIZE = "TOKEN_SIZE"  # noqa: S105

    # Cookies that were not taken from the visitor, or not given to them.
    COOKIE_NAME = "COOKIE_NAME"
    COOKIE_VALUE = "COOKIE_VALUE"
    COOKIE_SIZE = "COOKIE_SIZE"
    COOKIE_DOMAIN = "COOKIE_DOMAIN"
    COOKIE_DUPLICATE = "COOKIE_DUPLICATE"
    COOKIE_BUDGET = "COOKIE_BUDGET"

    # Parts of an answer that were left out.
    BAD_ALIAS = "BAD_ALIAS"
    BAD_VARIANT = "BAD_VARIANT"
    TOO_MANY = "TOO_MANY"

    # Events that were not made, not kept or not taken by the vendor.
    BAD_DATA = "BAD_DATA"
    BAD_METRIC = "BAD_METRIC"
    SKIPPED = "SKIPPED"
    QUEUE_FULL = "QUEUE_FULL"
    DISK_FULL = "DISK_FULL"
    DAMAGED = "DAMAGED"
    OUTBOX_FAILED = "OUTBOX_FAILED"
    COMMIT_LATE = "COMMIT_LATE"
    DUPLICATE_KEY = "DUPLICATE_KEY"
    TOO_OLD = "TOO_OLD"
    TRACK_CAP = "TRACK_CAP"
    NOT_IN_TEST = "NOT_IN_TEST"
    VARIANT_CHANGED = "VARIANT_CHANGED"
    NOT_LISTED = "NOT_LISTED"
    AMBIGUOUS = "AMBIGUOUS"
    REFUSED = "REFUSED"
    NO_VENDOR = "NO_VENDOR"
    WARNED = "WARNED"
    LOST_AT_EXIT = "LOST_AT_EXIT"
    LOST = "LOST"
    POISON = "POISON"
    DISCARDED = "DISCARDED"
    PURGED = "PURGED"

    # Details of a track or an identity that were made fit, while the rest was kept.
    KEY_DIGEST = "KEY_DIGEST"
    KEY_DROPPED = "KEY_DROPPED"
    VALUE_CONVERTED = "VALUE_CONVERTED"
    VALUE_DROPPED = "VALUE_DROPPED"
    CURRENCY_CASE = "CURRENCY_CASE"
    CURRENCY_DROPPED = "CURRENCY_DROPPED"
    NAMES_DROPPED = "NAMES_DROPPED"
    DETAIL_CONVERTED = "DETAIL_CONVERTED"
    DETAIL_JOINED = "DETAIL_JOINED"
    DETAIL_CLEANED = "DETAIL_CLEANED"
    DETAIL_CUT = "DETAIL_CUT"
    DETAIL_DROPPED = "DETAIL_DROPPED"
    ITEMS_SUMMED = "ITEMS_SUMMED"
    ITEMS_CUT = "ITEMS_CUT"
    ITEM_CHANGED = "ITEM_CHANGED"
    ITEM_DROPPED = "ITEM_DROPPED"

    # What Contentstack Personalize says, or does to who the visitor is.
    PROJECT_NOT_FOUND = "PROJECT_NOT_FOUND"
    IDENTITY_CHANGED = "IDENTITY_CHANGED"

    # The codes that Webtrends Optimize documents (OTS REST API guide, "Error codes").
    VENDOR_0 = "VENDOR_0"
    VENDOR_100 = "VENDOR_100"
    VENDOR_101 = "VENDOR_101"
    VENDOR_102 = "VENDOR_102"
    VENDOR_103 = "VENDOR_103"
    VENDOR_104 = "VENDOR_104"
    VENDOR_105 = "VENDOR_105"
    VENDOR_200 = "VENDOR_200"
    VENDOR_201 = "VENDOR_201"
    VENDOR_202 = "VENDOR_202"
    VENDOR_203 = "VENDOR_203"
    VENDOR_204 = "VENDOR_204"
    VENDOR_205 = "VENDOR_205"
    VENDOR_206 = "VENDOR_206"
    VENDOR_207 = "VENDOR_207"
    VENDOR_300 = "VENDOR_300"
    VENDOR_301 = "VENDOR_301"
    VENDOR_302 = "VENDOR_302"
    VENDOR_303 = "VENDOR_303"
    VENDOR_304 = "VENDOR_304"
    VENDOR_305 = "VENDOR_305"
    VENDOR_306 = "VENDOR_306"
    VENDOR_307 = "VENDOR_307"
    VENDOR_308 = "VENDOR_308"
    VENDOR_309 = "VENDOR_309"
    VENDOR_310 = "VENDOR_310"
    VENDOR_311 = "VENDOR_311"
    VENDOR_312 = "VENDOR_312"
    VENDOR_313 = "VENDOR_313"
    VENDOR_314 = "VENDOR_314"
    VENDOR_315 = "VENDOR_315"
    VENDOR_316 = "VENDOR_316"
    VENDOR_317 = "VENDOR_317"
    VENDOR_318 = "VENDOR_318"
    VENDOR_400 = "VENDOR_400"
    VENDOR_401 = "VENDOR_401"
    VENDOR_402 = "VENDOR_402"
    VENDOR_403 = "VENDOR_403"
    VENDOR_404 = "VENDOR_404"
    VENDOR_417 = "VENDOR_417"
    VENDOR_418 = "VENDOR_418"
    VENDOR_420 = "VENDOR_420"
    VENDOR_421 = "VENDOR_421"
    VENDOR_500 = "VENDOR_500"
    VENDOR_501 = "VENDOR_501"
    VENDOR_502 = "VENDOR_502"
    VENDOR_601 = "VENDOR_601"
    VENDOR_602 = "VENDOR_602"
    VENDOR_603 = "VENDOR_603"
    VENDOR_604 = "VENDOR_604"
    VENDOR_701 = "VENDOR_701"
    VENDOR_801 = "VENDOR_801"
    VENDOR_802 = "VENDOR_802"
    VENDOR_803 = "VENDOR_803"
    VENDOR_804 = "VENDOR_804"
    VENDOR_805 = "VENDOR_805"
    VENDOR_806 = "VENDOR_806"
    VENDOR_901 = "VENDOR_901"
    VENDOR_1001 = "VENDOR_1001"
    VENDOR_1002 = "VENDOR_1002"
    VENDOR_1003 = "VENDOR_1003"
    VENDOR_1004 = "VENDOR_1004"
    VENDOR_1005 = "VENDOR_1005"
    VENDOR_OTHER = "VENDOR_OTHER"


_BY_NUMBER = {int(code[7:]): code for code in ErrorCode if code.startswith("VENDOR_") and code[7:].isdigit()}


def vendor_code(number: int) -> ErrorCode:
    """Return the member for a vendor's own error *number*; `VENDOR_OTHER` for one that is not documented."""
    return _BY_NUMBER.get(number, ErrorCode.VENDOR_OTHER)
