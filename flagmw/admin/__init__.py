"""Clients for the vendors' management APIs."""

import importlib as _importlib
import typing as _typing

from flagmw.admin.errors import (
    AdminError,
    AmbiguousError,
    AnswerError,
    AuthError,
    ConflictError,
    InvalidError,
    NotFoundError,
    PermissionDeniedError,
    ServerError,
    ThrottledError,
    UnreachableError,
    VersionError,
)

if _typing.TYPE_CHECKING:
    from flagmw.admin.adobe.auth.legacy_jwt import LegacyJWT
    from flagmw.admin.adobe.auth.oauth import OAuthServerToServer
    from flagmw.admin.adobe.auth.profile import ProfileToken
    from flagmw.admin.adobe.batch.builder import Batch
    from flagmw.admin.adobe.client import AdobeAdmin, AsyncAdobeAdmin
    from flagmw.admin.adobe.filters import Between, Not
    from flagmw.admin.auth.cache import TokenCache
    from flagmw.admin.auth.given import GivenToken
    from flagmw.admin.contentstack.auth.authtoken import Authtoken
    from flagmw.admin.contentstack.auth.oauth import ContentstackOAuth
    from flagmw.admin.contentstack.client import AsyncContentstackAdmin, ContentstackAdmin
    from flagmw.admin.http.notes import CallNote
    from flagmw.admin.http.planned import PlannedRequest
    from flagmw.admin.limits.shared import SharedLimiter
    from flagmw.admin.monetate.auth import MonetateKey
    from flagmw.admin.monetate.client import AsyncMonetateAdmin, MonetateAdmin
    from flagmw.admin.monetate.sftp.connection import MonetateSFTP

__all__ = [
    "AdminError",
    "AdobeAdmin",
    "AmbiguousError",
    "AnswerError",
    "AsyncAdobeAdmin",
    "AsyncContentstackAdmin",
    "AsyncMonetateAdmin",
    "AuthError",
    "Authtoken",
    "Batch",
    "Between",
    "CallNote",
    "ConflictError",
    "ContentstackAdmin",
    "ContentstackOAuth",
    "GivenToken",
    "InvalidError",
    "LegacyJWT",
    "MonetateAdmin",
    "MonetateKey",
    "MonetateSFTP",
    "Not",
    "NotFoundError",
    "OAuthServerToServer",
    "PermissionDeniedError",
    "PlannedRequest",
    "ProfileToken",
    "ServerError",
    "SharedLimiter",
    "ThrottledError",
    "TokenCache",
    "UnreachableError",
    "VersionError",
]

# Each is imported when it is first named: a script manages one vendor.
_PLACES = {
    "AdobeAdmin": "adobe.client",
    "AsyncAdobeAdmin": "adobe.client",
    "AsyncContentstackAdmin": "contentstack.client",
    "AsyncMonetateAdmin": "monetate.client",
    "Authtoken": "contentstack.auth.authtoken",
    "Batch": "adobe.batch.builder",
    "Between": "adobe.filters",
    "CallNote": "http.notes",
    "ContentstackAdmin": "contentstack.client",
    "ContentstackOAuth": "contentstack.auth.oauth",
    "GivenToken": "auth.given",
    "LegacyJWT": "adobe.auth.legacy_jwt",
    "MonetateAdmin": "monetate.client",
    "MonetateKey": "monetate.auth",
    "MonetateSFTP": "monetate.sftp.connection",
    "Not": "adobe.filters",
    "OAuthServerToServer": "adobe.auth.oauth",
    "PlannedRequest": "http.planned",
    "ProfileToken": "adobe.auth.profile",
    "SharedLimiter": "limits.shared",
    "TokenCache": "auth.cache",
}


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(_importlib.import_module(f"flagmw.admin.{_PLACES[name]}"), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
