"""Offers, audiences, properties, mboxes and the other small resources."""

from __future__ import annotations

from typing import Any, Literal, TypedDict


class Offer(TypedDict, total=False):
    """A content offer: text or HTML."""

    id: int
    name: str
    content: str
    workspace: str
    modifiedAt: str


class JsonOffer(TypedDict, total=False):  # spec
    """An offer whose content is JSON, which flags are made of."""

    id: int
    name: str
    content: Any
    workspace: str
    modifiedAt: str


class OfferRow(TypedDict, total=False):
    """An offer in the list of offers."""

    id: int
    name: str
    type: Literal["content", "json", "recs"]
    modifiedAt: str
    workspace: str


class Audience(TypedDict, total=False):
    """An audience: a rule on visitors (`targetRule`) or on other audiences (`audienceRule`), never both."""

    id: int
    name: str
    description: str
    origin: Literal["target", "cloud"]
    targetRule: Any
    audienceRule: Any
    workspace: str
    modifiedAt: str
    status: Literal["saved", "deleted"]  # spec
    type: Literal["reusable", "anonymous", "property"]  # spec
    createdAt: str  # spec


class Property(TypedDict, total=False):
    """A property of Enterprise Permissions; `token` is what a page sends as `at_property`."""

    id: int
    name: str
    description: str
    channel: Literal["web", "mobile", "email", "other"]
    segmentId: int
    workspaces: list[str]
    token: str  # spec
    modifiedAt: str
    createdAt: str  # spec


class MboxRow(TypedDict, total=False):
    name: str
    status: str
    lastRequestedAt: str


class MboxParameter(TypedDict, total=False):
    name: str
    parameterType: str


class MboxParameters(TypedDict, total=False):
    name: str
    mboxParameters: list[MboxParameter]


class ProfileAttributeNames(TypedDict, total=False):
    mboxProfileAttributes: list[str]


class Environment(TypedDict, total=False):
    id: int
    name: str
    serveInactiveActivities: bool  # spec
    default: bool  # spec


class AccessToken(TypedDict, total=False):
    """A token for the Profile API or for traces; `expiresIn` is in seconds."""

    accessToken: str
    tokenType: str
    scope: Literal["profile_api", "debug_tools"]
    expiresIn: int


class ResponseToken(TypedDict, total=False):  # spec
    id: int
    token: str
    name: str
    type: Literal["BUILT_IN", "ACTIVITY", "GEO", "CRS", "MBOX", "SCRIPT"]
    active: bool
    deletable: bool
    modifiedAt: str
