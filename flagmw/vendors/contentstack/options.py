"""Check the options of a Contentstack Personalize project."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from flagmw.exceptions import ConfigError
from flagmw.types import Scalar
from flagmw.vendors.common.options import one_of
from flagmw.vendors.contentstack.request import live_attributes
from flagmw.vendors.contentstack.response import SHORT_UID

TAGS_MAX = 10
# Before the short uid it is the alias of an experience that the site gave no name.
UNNAMED = "exp:"

# Contentstack's list of regions, with what stands before the host of each.
REGIONS: Mapping[str, str] = MappingProxyType(
    {
        "aws-na": "",
        "aws-eu": "eu-",
        "aws-au": "au-",
        "azure-na": "azure-na-",
        "azure-eu": "azure-eu-",
        "gcp-na": "gcp-na-",
        "gcp-eu": "gcp-eu-",
    }
)
_PROJECT = re.compile(r"[0-9a-f]{24}")
_TAG = re.compile(r"[A-Za-z0-9_:-]{1,32}")


def edge_url(owner: str, region: Any) -> str:
    """Return the address of the Edge API in *region*, which the vendor also writes in capitals.

    Raises:
        ConfigError: there is no such region.
    """
    known = one_of(owner, "region", region.lower() if isinstance(region, str) else region, tuple(REGIONS))
    return f"https://{REGIONS[known]}personalize-edge.contentstack.com"


def checked_project(owner: str, project_uid: Any) -> str:
    """Return *project_uid*.

    Raises:
        ConfigError: it is none.
    """
    if not isinstance(project_uid, str) or not _PROJECT.fullmatch(project_uid):
        raise ConfigError(f"{owner}: project_uid must be the 24 hex digits of the project's settings")
    return project_uid


def checked_tags(owner: str, tags: Any) -> tuple[str, ...]:
    """Return *tags*.

    Raises:
        ConfigError: there are too many, or one is none.
    """
    if isinstance(tags, str | bytes | Mapping) or not isinstance(tags, Iterable):
        raise ConfigError(f"{owner}: tags must be a list of texts")
    listed = tuple(tags)
    if len(listed) > TAGS_MAX:
        raise ConfigError(f"{owner}: tags has {len(listed)} entries; the vendor takes {TAGS_MAX}")
    if not all(isinstance(tag, str) and _TAG.fullmatch(tag) for tag in listed):
        raise ConfigError(f"{owner}: tags must each be 1 to 32 letters, digits, underscores, colons or dashes")
    return listed


def checked_attributes(owner: str, data: Any) -> Mapping[str, Scalar]:
    """Return a copy of *data*, attributes that go with every request; none for None.

    Raises:
        ConfigError: it is no mapping, or cannot be sent.
    """
    if data is None:
        return {}
    if not isinstance(data, Mapping) or not all(isinstance(name, str) for name in data):
        raise ConfigError(f"{owner}: data must be a mapping with texts as keys")
    if not live_attributes(data)[1]:
        raise ConfigError(f"{owner}: data must hold texts, numbers and booleans, 8 KiB in all")
    return dict(data)


def checked_aliases(owner: str, aliases: Any) -> Mapping[str, str]:
    """Return a copy of *aliases*, which names experiences by their short uids; empty for None.

    Raises:
        ConfigError: an entry cannot be, or two experiences get the same name.
    """
    if aliases is None:
        return {}
    if not isinstance(aliases, Mapping):
        raise ConfigError(f'{owner}: aliases must be a mapping from short uid to alias, such as {{"b": "hero"}}')
    for short_uid, alias in aliases.items():
        if not isinstance(short_uid, str) or not SHORT_UID.fullmatch(short_uid):
            raise ConfigError(f"{owner}: aliases: {short_uid!r} is no short uid; write it as text, as in b_0")
        if not isinstance(alias, str) or not 1 <= len(alias) <= 250 or not alias.isprintable():
            raise ConfigError(f"{owner}: aliases: an alias must be 1 to 250 printable characters")
        if alias.startswith(UNNAMED):
            raise ConfigError(f"{owner}: aliases: {UNNAMED!r} begins the aliases of experiences that have no name here")
    if len(set(aliases.values())) != len(aliases):
        raise ConfigError(f"{owner}: aliases names two experiences alike")
    return dict(aliases)
