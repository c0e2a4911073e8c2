"""Options of a Contentstack Personalize project, with their checks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from flagmw._cookies.rule import CookieRule
from flagmw.exceptions import ConfigError
from flagmw.types import Scalar
from flagmw.vendors.common.options import checked_base_url, checked_decides_by, checked_flag, checked_prefix, one_of
from flagmw.vendors.contentstack.request import live_attributes
from flagmw.vendors.contentstack.response import SHORT_UID

TAGS_MAX = 10
# Begins the alias of an experience without an entry in `aliases`; the short uid follows.
UNNAMED = "exp:"

# Contentstack's list of regions, with the prefix of each host name.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Checked options of one project; their meaning is described at `Contentstack`."""

    name: str
    project_uid: str
    base_url: str
    exposure: str
    prefix: str
    aliases: Mapping[str, str]
    tags: tuple[str, ...]
    data: Mapping[str, Scalar]
    known_users: bool
    manifest_cookie: bool
    lytics: bool
    decides_by: str
    at_most_once: bool
    shadow: bool

    @classmethod
    def checked(
        cls,
        *,
        name: str,
        project_uid: Any,
        region: Any,
        base_url: Any,
        exposure: Any,
        prefix: Any,
        aliases: Any,
        tags: Any,
        data: Any,
        known_users: Any,
        manifest_cookie: Any,
        lytics: Any,
        decides_by: Any,
        at_most_once: Any,
        shadow: Any,
    ) -> Options:
        """Check the options that a user gave.

        Raises:
            ConfigError: an option is wrong; the text names it and says what is right.
        """
        owner = f"vendor {name!r}"
        regional = _checked_region_url(owner, region)
        return cls(
            name=name,
            prefix=checked_prefix(owner, prefix),
            project_uid=_checked_project(owner, project_uid),
            base_url=regional if base_url is None else checked_base_url(owner, base_url),
            exposure=one_of(owner, "exposure", exposure, ("read", "off")),
            at_most_once=checked_flag(owner, "at_most_once", at_most_once),
            shadow=checked_flag(owner, "shadow", shadow),
            aliases=_checked_aliases(owner, aliases),
            tags=_checked_tags(owner, tags),
            data=_checked_data(owner, data),
            known_users=checked_flag(owner, "known_users", known_users),
            manifest_cookie=checked_flag(owner, "manifest_cookie", manifest_cookie),
            lytics=checked_flag(owner, "lytics", lytics),
            decides_by=checked_decides_by(owner, decides_by),
        )

    def alias_of(self, short_uid: str) -> str:
        """Return the alias of the experience *short_uid*."""
        return self.aliases.get(short_uid, UNNAMED + short_uid)

    def may_have(self, alias: str) -> bool:
        """Say whether *alias* can belong to this project."""
        if not alias.startswith(UNNAMED):
            return alias in self.aliases.values()
        return SHORT_UID.fullmatch(alias.removeprefix(UNNAMED)) is not None

    def fingerprint(self, cookies: CookieRule) -> Mapping[str, Any]:
        """Return the options that decisions depend on.

        The names are part of the format of decision cookies: with other names, visitors lose their decisions once.
        """
        return {
            "name": self.name,
            "prefix": self.prefix,
            "project_uid": self.project_uid,
            "base_url": self.base_url,
            "exposure": self.exposure,
            "at_most_once": self.at_most_once,
            "shadow": self.shadow,
            "_aliases": self.aliases,
            "_tags": self.tags,
            "_data": self.data,
            "_known_users": self.known_users,
            "_keep_manifest": self.manifest_cookie,
            "_lytics": self.lytics,
            "decides_by": self.decides_by,
            "_reporter": None,
            "cookies": cookies,
        }


def _checked_region_url(owner: str, region: Any) -> str:
    """Return the address of the Edge API in *region*, which the vendor also writes in capitals."""
    choice = one_of(owner, "region", region.lower() if isinstance(region, str) else region, tuple(REGIONS))
    return f"https://{REGIONS[choice]}personalize-edge.contentstack.com"


def _checked_project(owner: str, project_uid: Any) -> str:
    if not isinstance(project_uid, str) or not _PROJECT.fullmatch(project_uid):
        raise ConfigError(f"{owner}: project_uid must be the 24 hex digits of the project's settings")
    return project_uid


def _checked_tags(owner: str, tags: Any) -> tuple[str, ...]:
    if isinstance(tags, str | bytes | Mapping) or not isinstance(tags, Iterable):
        raise ConfigError(f"{owner}: tags must be a list of texts")
    listed = tuple(tags)
    if len(listed) > TAGS_MAX:
        raise ConfigError(f"{owner}: tags has {len(listed)} entries; the vendor takes {TAGS_MAX}")
    if not all(isinstance(tag, str) and _TAG.fullmatch(tag) for tag in listed):
        raise ConfigError(f"{owner}: tags must each be 1 to 32 letters, digits, underscores, colons or dashes")
    return listed


def _checked_data(owner: str, data: Any) -> Mapping[str, Scalar]:
    """Return a copy of *data*, the attributes of every request; an empty one for None."""
    if data is None:
        return {}
    if not isinstance(data, Mapping) or not all(isinstance(name, str) for name in data):
        raise ConfigError(f"{owner}: data must be a mapping with texts as keys")
    if not live_attributes(data)[1]:
        raise ConfigError(f"{owner}: data must hold texts, numbers and booleans, 8 KiB in all")
    return dict(data)


def _checked_aliases(owner: str, aliases: Any) -> Mapping[str, str]:
    """Return a copy of *aliases*, names of experiences by short uid; an empty one for None."""
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
            raise ConfigError(
                f"{owner}: aliases: {UNNAMED!r} is for experiences without an entry; choose another alias"
            )
    if len(set(aliases.values())) != len(aliases):
        raise ConfigError(f"{owner}: aliases gives two experiences the same name")
    return dict(aliases)
